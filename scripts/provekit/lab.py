"""Exchanges in the lab, predicted from messages between two ranks that were measured first.

Two hosts of up to three ranks. Messages across hosts and inside one are measured, and one point of
three senders; predictions of everything else are written down; then everything else is measured.
Algorithms are set in the library, or they would be no input of a model but a guess.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.core.records import Row, Status
from bench.core.units import format_bytes
from bench.judge.accuracy import Miss
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.predict.compose import MessageKind, Messages, fit_messages, weave
from bench.predict.model.composed.exchange import compose
from bench.predict.model.composed.path import alarms
from bench.predict.model.datasheet.collectives import Cluster, bound
from provekit.tables import print_error_verdict, print_errors
from provekit.virtual import CROSSING, CROWDED, Lab, payload_rate

HOSTS, RANKS = 2, 6
SIZES = (8, 1024, 4096, 16384, 32768, 65536, 131072, 262144, 524288, 1048576)
SMALLEST = 8
LARGE = (262144, 524288, 1048576)
SENDERS, SENDERS_BYTES = 3, 524288
WINDOW = 4
_HEAD = '[suite]\nname = "proof"\ncap_s = 0.5\n'
WIRE_SHARE = 10
"""A case counts where its bytes take this many times as long as its smallest message."""
ALGORITHMS = {"ring": 4, "recursive-doubling": 3, "rabenseifner": 6}
"""All-reduces of Open MPI's coll/tuned by the numbers that it gives them (5.0)."""
MOST_ERROR = {"exchange": 0.10, "collectives": 0.10, "multi-pair": 0.05}


class Case(NamedTuple):
    """Something to predict and then to measure."""

    group: str
    name: str
    benchmark: str
    nbytes: int
    axes: Mapping[str, str | int]
    predicted_s: float
    bound_s: float


def prove_lab(rate: str, in_turn: bool) -> bool:
    """Print the errors of each kind of exchange, and whether the targets are met.

    Args:
        rate: of the links, such as `400mbit`.
        in_turn: messages that cross wait for each other, as Open MPI does unless set otherwise.
    """
    lab = Lab(CROWDED if in_turn else CROWDED | CROSSING)
    with lab.up("--hosts", str(HOSTS), "--rate", rate, "--mtu", "9000"):
        payload = payload_rate()
        cases = list(predict_cases(_calibrate(lab, payload), payload))
        frozen = hashlib.sha256(json.dumps(cases).encode()).hexdigest()[:16]
        print(f"{len(cases)} predictions frozen, hash {frozen}, links at {rate}.\n", flush=True)
        measured = _measure(lab, cases)
    met = True
    for group, most in MOST_ERROR.items():
        misses = find_misses([case for case in cases if case.group == group], measured)
        if misses:
            pooled = print_errors(group, misses)
            met &= print_error_verdict(group, pooled.median_error, most)
            print()
        else:
            print(f"{group}: nothing was measured\n")
            met = False
    return met


def calibration_suite() -> str:
    """Return the suite of messages between two ranks, and of one point of several senders."""
    pair = f"bytes = {list(SIZES)}\nranks = {RANKS}"
    blocks = (
        f'name = "latency"\n{pair}\nbetween = ["ends", "neighbours"]',
        f'name = "bibandwidth"\n{pair}\nbetween = ["ends", "neighbours"]\nwindow = 1',
        f'name = "bandwidth"\n{pair}\nwindow = {WINDOW}',
        f'name = "multi_pair"\nbytes = {SENDERS_BYTES}\npairs = {SENDERS}\n'
        f"ranks = {RANKS}\nwindow = {WINDOW}",
    )
    return _HEAD + "\n".join(f"[[benchmark]]\n{block}" for block in blocks)


def _calibrate(lab: Lab, payload: float) -> Messages:
    """Measure messages, and return what they cost by kind."""
    text = calibration_suite()
    plan = make_plan(parse_suite(text, "the calibration"))
    cases = {case.id: case for job in plan.jobs for case in job.cases}
    messages = fit_messages(cases, lab.run(text).rows)
    for kind, fitted in messages.fitted.items():
        if kind.across:
            for alarm in alarms(fitted.path, payload):
                print(f"alarm: {kind.words}: {alarm}")
    return messages


def predict_cases(messages: Messages, payload: float) -> Iterator[Case]:
    """Yield every case with its prediction.

    Args:
        messages: between two ranks, across nodes and inside one.
        payload: bytes per second of a link, for the bound.
    """
    for ranks in (4, 6):
        each = ranks // HOSTS
        nodes = tuple(rank // each for rank in range(ranks))
        fabric, _ = weave(nodes, messages)
        cluster = Cluster(HOSTS, each, payload)
        for size in (SMALLEST, *LARGE):
            limit_s = bound(cluster, size).seconds
            for algorithm in ALGORITHMS:
                seconds = compose(fabric, size, algorithm).seconds
                name = f"allreduce {algorithm} {ranks} ranks {format_bytes(size)}"
                axes = {"algorithm": algorithm, "ranks": ranks}
                yield Case("collectives", name, "allreduce", size, axes, seconds, limit_s)
            for strategy in ("naive", "ring", "hierarchical"):
                seconds = compose(fabric, size, strategy).seconds
                name = f"exchange {strategy} {ranks} ranks {format_bytes(size)}"
                axes = {"strategy": strategy, "ranks": ranks}
                if strategy == "naive":  # as it is predicted; all at once it has no order
                    axes["posting"] = "rounds"
                yield Case("exchange", name, "exchange", size, axes, seconds, limit_s)
    for pairs in (1, 2):
        for size in (SMALLEST, *LARGE):
            seconds = messages.need(MessageKind(across=True, window=WINDOW)).path.seconds(
                size, pairs
            )
            name = f"multi_pair {pairs} pairs {format_bytes(size)}"
            axes = {"pairs": pairs, "ranks": RANKS}
            limit_s = pairs * size / payload
            yield Case("multi-pair", name, "multi_pair", size, axes, seconds, limit_s)


def _measure(lab: Lab, cases: list[Case]) -> dict[str, float]:
    """Run all cases, the library's algorithms one after the other."""
    found: dict[str, float] = {}
    plain = [case for case in cases if "algorithm" not in case.axes]
    times = _run(lab, [write_block(case) for case in plain])
    found |= {case.name: t for case in plain if (t := times.get(_key(case))) is not None}
    for algorithm, number in ALGORITHMS.items():
        forced = [case for case in cases if case.axes.get("algorithm") == algorithm]
        settings = {
            "OMPI_MCA_coll": "^han,xhc,acoll",
            "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
            "OMPI_MCA_coll_tuned_allreduce_algorithm": str(number),
        }
        times = _run(lab, [write_block(case) for case in forced], settings)
        found |= {case.name: t for case in forced if (t := times.get(_key(case))) is not None}
    return found


def write_block(case: Case) -> str:
    """Return a case as a block of a suite."""
    axes = {name: value for name, value in case.axes.items() if name != "algorithm"}
    if case.benchmark == "multi_pair":
        axes |= {"window": WINDOW}
    lines = [f"{name} = {json.dumps(value)}" for name, value in axes.items()]
    return "\n".join([f'[[benchmark]]\nname = "{case.benchmark}"\nbytes = {case.nbytes}', *lines])


def _key(case: Case) -> tuple[str, int, str]:
    axis = {"exchange": "strategy", "multi_pair": "pairs"}.get(case.benchmark)
    axis_value = f"{case.axes[axis]}" if axis else ""
    return case.benchmark, case.nbytes, f"{axis_value}/{case.axes['ranks']}"


def _row_key(row: Row) -> tuple[str, int, str]:
    axis_value = {"exchange": row.algorithm, "multi_pair": row.pairs}.get(row.benchmark, "")
    return row.benchmark, row.bytes or 0, f"{axis_value}/{row.ranks}"


def find_misses(cases: list[Case], measured: Mapping[str, float]) -> dict[str, list[Miss]]:
    """Return what was off by kind of case, where the wire rules the time."""
    found: dict[str, list[Miss]] = {}
    for case in cases:
        smallest = case.name.replace(format_bytes(case.nbytes), format_bytes(SMALLEST))
        if case.nbytes == SMALLEST or case.name not in measured or smallest not in measured:
            continue
        if case.bound_s < WIRE_SHARE * measured[smallest]:
            print(f"left out, latency rules it: {case.name}")
            continue
        kind = case.name.rsplit(" ", 2)[0]
        baselines = {"bound": case.bound_s}
        miss = Miss(
            case.name, 0, case.name, case.predicted_s, measured[case.name], None, None, baselines
        )
        found.setdefault(kind, []).append(miss)
    return found


def _run(
    lab: Lab, blocks: list[str], settings: Mapping[str, str] | None = None
) -> dict[tuple[str, int, str], float]:
    """Run a suite in the lab; return seconds by benchmark, bytes and the rest of the case."""
    text = _HEAD + "\n".join(blocks)
    rows = lab.run(text, settings=settings).rows
    for row in rows:
        if row.status is not Status.OK:
            print(f"{row.case}: {row.status}: {row.reason}", file=sys.stderr)
    good = (row for row in rows if row.status is Status.OK)
    return {_row_key(row): row.t_median_s for row in good if row.t_median_s}
