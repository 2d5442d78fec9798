"""Exchanges in the lab, predicted from messages between two ranks that were measured first.

Two hosts of up to three ranks. Messages across hosts and inside one are measured, and one point of
three senders; predictions of everything else are written down; then everything else is measured.
Algorithms of the library are told to it, or they would be no input of a model but a guess.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.analysis.accuracy import Miss
from bench.measure import MEASUREMENTS
from bench.model.composed.exchange import Fabric, compose
from bench.model.composed.path import Path as Link
from bench.model.composed.path import Point, alarms, fit_path
from bench.model.datasheet.collectives import Cluster, bound
from bench.record import Row, Status
from bench.units import format_bytes
from provekit.tables import print_error_verdict, print_errors
from provekit.virtual import CROSSING, CROWDED, HOSTFILE, Lab, payload_rate

_LAB = Lab(CROWDED | CROSSING)
HOSTS, RANKS = 2, 6
SIZES = (8, 1024, 4096, 16384, 32768, 65536, 131072, 262144, 524288, 1048576)
SMALLEST = 8
LARGE = (262144, 524288, 1048576)
SENDERS, SENDERS_BYTES = 3, 524288
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


def prove_lab(rate: str) -> bool:
    """Print the errors of each kind of exchange, and whether the targets are met."""
    with _LAB.up("--hosts", str(HOSTS), "--rate", rate, "--mtu", "9000"):
        payload = payload_rate()
        links = _calibrate(payload)
        cases = list(predict_cases(links, payload))
        frozen = hashlib.sha256(json.dumps(cases).encode()).hexdigest()[:16]
        print(f"{len(cases)} predictions frozen, hash {frozen}, links at {rate}.\n", flush=True)
        measured = _measure(cases)
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


def _calibrate(payload: float) -> dict[str, Link]:
    """Measure messages, and return the paths by name: inside, across, stream."""
    sizes = f"bytes = {list(SIZES)}"
    senders = [f'[[benchmark]]\nname = "multi_pair"\nbytes = {SENDERS_BYTES}\npairs = {SENDERS}\n'
               f"ranks = {RANKS}\nwindow = 4"] if "multi_pair" in MEASUREMENTS else []  # fmt: skip
    across = _run(
        [
            f'[[benchmark]]\nname = "latency"\n{sizes}',
            f'[[benchmark]]\nname = "bandwidth"\n{sizes}\nwindow = 4',
            *senders,
        ]
    )
    inside = _run([f'[[benchmark]]\nname = "latency"\n{sizes}'], where=("--hosts", "h1"))
    together = next(
        (Point(SENDERS, SENDERS_BYTES, t) for (name, _, _), t in across.items()
         if name == "multi_pair"), None)  # fmt: skip
    links = {
        "across": _fit(across, "latency", together),
        "stream": _fit(across, "bandwidth", together),
        "inside": _fit(inside, "latency", None),
    }
    for name in ("across", "stream"):
        for alarm in alarms(links[name], payload):
            print(f"alarm: {name}: {alarm}")
    return links


def _fit(times: Mapping[tuple[str, int, str], float], name: str, together: Point | None) -> Link:
    points = sorted((nbytes, t) for (benchmark, nbytes, _), t in times.items() if benchmark == name)
    return fit_path([float(size) for size, _ in points], [t for _, t in points], together)


def predict_cases(links: Mapping[str, Link], payload: float) -> Iterator[Case]:
    """Yield every case with its prediction.

    Args:
        links: `across` and `inside` of single messages, `stream` of windows of them.
        payload: bytes per second of a link, for the bound.
    """
    for ranks in (4, 6):
        each = ranks // HOSTS
        nodes = tuple(rank // each for rank in range(ranks))
        fabric = Fabric(nodes, links["inside"], links["across"])
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
            seconds = links["stream"].seconds(size, pairs)
            name = f"multi_pair {pairs} pairs {format_bytes(size)}"
            axes = {"pairs": pairs, "ranks": RANKS}
            limit_s = pairs * size / payload
            yield Case("multi-pair", name, "multi_pair", size, axes, seconds, limit_s)


def _measure(cases: list[Case]) -> dict[str, float]:
    """Run all cases that there is a benchmark for, the library's algorithms one after the other."""
    found: dict[str, float] = {}
    known = [case for case in cases if case.benchmark in MEASUREMENTS]
    plain = [case for case in known if "algorithm" not in case.axes]
    times = _run([write_block(case) for case in plain])
    found |= {case.name: t for case in plain if (t := times.get(_key(case))) is not None}
    for algorithm, number in ALGORITHMS.items():
        forced = [case for case in known if case.axes.get("algorithm") == algorithm]
        settings = {
            "OMPI_MCA_coll": "^han,xhc,acoll",
            "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
            "OMPI_MCA_coll_tuned_allreduce_algorithm": str(number),
        }
        times = _run([write_block(case) for case in forced], settings=settings)
        found |= {case.name: t for case in forced if (t := times.get(_key(case))) is not None}
    return found


def write_block(case: Case) -> str:
    """Return a case as a block of a suite."""
    axes = {name: value for name, value in case.axes.items() if name != "algorithm"}
    if case.benchmark == "multi_pair":
        axes |= {"window": 4}
    lines = [f"{name} = {json.dumps(value)}" for name, value in axes.items()]
    return "\n".join([f'[[benchmark]]\nname = "{case.benchmark}"\nbytes = {case.nbytes}', *lines])


def _key(case: Case) -> tuple[str, int, str]:
    axis = {"exchange": "strategy", "multi_pair": "pairs"}.get(case.benchmark)
    told = f"{case.axes[axis]}" if axis else ""
    return case.benchmark, case.nbytes, f"{told}/{case.axes['ranks']}"


def _row_key(row: Row) -> tuple[str, int, str]:
    told = {"exchange": row.algorithm, "multi_pair": row.pairs}.get(row.benchmark, "")
    return row.benchmark, row.bytes or 0, f"{told}/{row.ranks}"


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
    blocks: list[str],
    where: tuple[str, ...] = HOSTFILE,
    settings: Mapping[str, str] | None = None,
) -> dict[tuple[str, int, str], float]:
    """Run a suite in the lab; return seconds by benchmark, bytes and what tells cases apart."""
    text = '[suite]\nname = "proof"\ncap_s = 0.5\n' + "\n".join(blocks)
    rows = _LAB.run(text, where, settings).rows
    for row in rows:
        if row.status is not Status.OK:
            print(f"{row.case}: {row.status}: {row.reason}", file=sys.stderr)
    good = (row for row in rows if row.status is Status.OK)
    return {_row_key(row): row.t_median_s for row in good if row.t_median_s}
