"""Predictions of a run that are composed of its own messages: known truths, and what is missing."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from test_calibration import row as calibration_row

from bench.core.records import Case, Job, Prediction, Row, Stage
from bench.measure import MEASUREMENTS
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import load_suite, parse_suite
from bench.predict.compose import COMPOSED, Composition, compose_case
from bench.predict.fit import predict_targets

FROZEN = "2026-11-20T09:00:00.000000Z"
ALPHA_S, LINK, INSIDE = 30e-6, 25e6, 5e9
HOSTS = 2
FLOP_PER_S = 5e10
Truth = Callable[[Case, bool], float]
MESSAGES = """
[suite]
name = "messages"

[[benchmark]]
name = "latency"
calibrate = true
bytes = [8, 512, 8192, 65536, 262144, 1048576, 4194304]
between = ["ends", "neighbours"]
ranks = 6

[[benchmark]]
name = "bibandwidth"
calibrate = true
bytes = [8, 512, 8192, 65536, 262144, 1048576, 4194304]
between = ["ends", "neighbours"]
window = 1
ranks = 6

[[benchmark]]
name = "bandwidth"
calibrate = true
bytes = [8, 512, 8192, 65536, 262144, 1048576, 4194304]
window = 4
ranks = 6

[[benchmark]]
name = "multi_pair"
calibrate = true
bytes = 524288
window = 4
pairs = 3
ranks = 6
{targets}
"""


def free_both_ways(case: Case, across: bool) -> float:
    """Return what a message takes where ways do not disturb each other."""
    if case.benchmark == "matmul":
        return 2 * math.prod(int(case.axes[axis]) for axis in ("batch", "k", "n")) / FLOP_PER_S
    senders = int(case.axes.get("pairs", 1))
    size = int(case.axes["bytes"])
    return ALPHA_S + senders * size / LINK if across else ALPHA_S / 10 + size / INSIDE


def in_turn_both_ways(case: Case, across: bool) -> float:
    """Return the same where messages that cross wait for each other."""
    turns = 2 if across and case.benchmark == "bibandwidth" else 1
    return turns * free_both_ways(case, across)


def plan_of(targets: str) -> Plan:
    return make_plan(parse_suite(MESSAGES.format(targets=targets), "messages"))


def measure(plan: Plan, truth: Truth, sigma: float = 0.0) -> list[Row]:
    """Return the rows of the calibration cases on two hosts of three ranks."""
    random = np.random.default_rng(0)
    rows = []
    for job in plan.jobs:
        for case in job.cases if job.stage is Stage.CALIBRATE else ():
            across = case.axes.get("between") != "neighbours"
            seconds = truth(case, across) * math.exp(sigma * random.standard_normal())
            rows.append(row(job, case, seconds, across))
    return rows


def row(job: Job, case: Case, seconds: float, across: bool) -> Row:
    window = case.axes.get("window")
    return msgspec.structs.replace(
        calibration_row(job, case, seconds),
        nodes=HOSTS,
        ranks=job.ranks,
        src="h1:rank0",
        dst=f"h2:rank{job.ranks - 1}" if across else "h1:rank1",
        bytes=int(case.axes["bytes"]) if "bytes" in case.axes else None,
        window=None if window is None else int(window),
    )


def predict(
    targets: str, truth: Truth = free_both_ways, sigma: float = 0.0, hosts: int | None = HOSTS
) -> list[Prediction]:
    plan = plan_of(targets)
    return predict_targets(plan, measure(plan, truth, sigma), FROZEN, hosts)


def block(name: str, **axes: object) -> str:
    lines = [f'[[benchmark]]\nname = "{name}"\ncalibrate = false']
    lines += [f'{key} = "{v}"' if isinstance(v, str) else f"{key} = {v}" for key, v in axes.items()]
    return "\n" + "\n".join(lines)


def test_messages_in_buffers_of_their_own_tell_nothing_of_a_shared_one():
    (found,) = predict(
        block("multi_pair", bytes=2**22, ranks=6, pairs=2, window=4, buffers="shared")
    )
    assert found.seconds is None
    assert 'window = 4 and buffers = "shared"' in found.formula


@pytest.mark.parametrize(
    ("name", "axes", "messages"),
    [
        ("multi_pair", {"pairs": 2, "window": 4}, 2),
        ("exchange", {"strategy": "naive"}, 9),
        ("exchange", {"strategy": "naive", "posting": "rounds"}, 9),
        ("exchange", {"strategy": "ring"}, 2 * 5 / 6),
        ("exchange", {"strategy": "hierarchical"}, 1),
        ("allreduce", {}, 1),
        ("alltoall", {}, 9),
        ("allgather", {}, 3),
        ("broadcast", {}, 1),
        ("scatter", {}, 3),
        ("gather", {}, 3),
    ],
)
@pytest.mark.parametrize("sigma", [0.0, 0.01])
def test_what_was_never_measured_takes_its_messages_through_the_link(name, axes, messages, sigma):
    size = 2**22
    (found,) = predict(block(name, bytes=size, ranks=6, **axes), sigma=sigma)
    assert found.tier == "C"
    assert found.seconds == pytest.approx(messages * size / LINK, rel=0.06)
    assert "messages" in found.formula
    fitted_on = (found.calibration_cases or "").split()
    assert fitted_on
    assert not any(case.startswith(("exchange", "all", "broad", "scat")) for case in fitted_on)


def test_messages_that_cross_take_what_crossing_messages_were_measured_to_take():
    ring = block("exchange", strategy="ring", bytes=4 * 2**20, ranks=6)
    (free,), (in_turn,) = predict(ring), predict(ring, in_turn_both_ways)
    assert free.seconds is not None
    assert in_turn.seconds == pytest.approx(2 * free.seconds, rel=0.05)
    # Nobody answers a root that only sends.
    root = block("scatter", bytes=2**20, ranks=6)
    (free,), (in_turn,) = predict(root), predict(root, in_turn_both_ways)
    assert in_turn.seconds == pytest.approx(free.seconds)


@pytest.mark.parametrize(
    ("targets", "hosts", "missing"),
    [
        (block("exchange", strategy="ring", bytes=1024, ranks=6), None, "on which nodes"),
        (block("exchange", strategy="ring", bytes=1024, ranks=5), 2, "do not spread evenly"),
        (block("exchange", strategy="one-bit", bytes=1024, ranks=6), 2, "encoding"),
        (block("multi_pair", pairs=2, window=8, bytes=1024, ranks=6), 2, "window = 8"),
        (block("multi_pair", pairs=2, window=4, bytes=1024, ranks=6), 3, "one node to one other"),
        (block("allreduce", library="nccl", bytes=1024, ranks=6), 2, "only messages by MPI"),
        (block("allreduce", memory="device", bytes=1024, ranks=6), 2, "only messages by MPI"),
        (block("exchange", memory="pinned", bytes=1024, ranks=6), 2, "only messages by MPI"),
        (block("allreduce", mode="throughput", bytes=1024, ranks=6), 2, "back to back"),
        (block("multi_pair", pairs=2, window=4, bytes=1024, ranks=7), 1, "one node to one other"),
        (block("allreduce", bytes=1024, ranks=4096), 2, "4096 ranks"),
        (block("overlap", bytes=1024), 2, "too few sizes"),
    ],
)
def test_what_cannot_be_composed_says_what_is_missing(targets, hosts, missing):
    for found in predict(targets, hosts=hosts):
        assert found.seconds is None
        assert found.formula.startswith("none: ")
        assert missing in found.formula


OTHERS = """
[[benchmark]]
name = "multi_pair"
calibrate = true
bytes = 1048576
window = 4
pairs = 3
ranks = 6
memory = "standin"

[[benchmark]]
name = "pairs_latency"
calibrate = true
bytes = [8, 4096, 1048576]
ranks = 6
at_once = "round"

[[benchmark]]
name = "bibandwidth"
calibrate = true
bytes = [8, 4096, 1048576]
window = 64
ranks = 6
"""


def test_messages_of_other_memory_or_beside_others_are_no_part():
    senders = block("multi_pair", pairs=2, window=4, bytes=2**20, ranks=6)
    ring = block("exchange", strategy="ring", bytes=2**22, ranks=6)
    expected = [one.seconds for one in predict(senders + ring)]

    def disturbed(case: Case, across: bool) -> float:
        other = case.axes.get("memory") == "standin" or case.axes.get("at_once") == "round"
        many = case.benchmark == "bibandwidth" and case.axes["window"] == 64
        return (9 if other or many else 1) * free_both_ways(case, across)

    found = predict(OTHERS + senders + ring, disturbed)
    assert [one.seconds for one in found] == pytest.approx(expected)


def test_messages_that_tell_no_rate_are_named_as_such():
    ring = block("exchange", strategy="ring", bytes=2**20, ranks=6)
    (found,) = predict(ring, lambda _case, _across: 1e-5)
    assert "no rate" in found.formula
    assert "add latency" not in found.formula


def test_without_messages_inside_a_node_it_says_how_to_measure_them():
    plan = plan_of(block("exchange", strategy="ring", bytes=2**20, ranks=6))
    rows = [row for row in measure(plan, free_both_ways) if row.dst != "h1:rank1"]
    (found,) = predict_targets(plan, rows, FROZEN, HOSTS)
    assert 'add latency with between = "neighbours"' in found.formula


PRODUCTS = """
[[benchmark]]
name = "matmul"
calibrate = true
batch = [32, 128, 512]
k = 1000
n = 500
threads = 1
"""
WIDTHS = {"d_in": 1000, "d_out": 500, "threads": 1, "ranks": 2}


@pytest.mark.parametrize(
    ("split", "batch", "numbers"),
    [
        ("data", 128, 1000 * 500),
        ("row", 128, 128 * (500 + 1000 / 2)),
        ("column", 128, 128 * (1000 + 500 / 2)),
        ("row", 512, 512 * (500 + 1000 / 2)),
    ],
)
def test_a_training_step_is_what_it_sends_and_its_products(split, batch, numbers):
    axes = {**WIDTHS, "split": split, "batch": batch}
    (sent,) = predict(PRODUCTS + block("training_step", part="exchange", **axes))
    assert sent.seconds == pytest.approx(4 * numbers / LINK, rel=0.03)
    (whole,) = predict(PRODUCTS + block("training_step", **axes))
    computed_s = 3 * 2 * batch / 2 * 1000 * 500 / FLOP_PER_S
    assert (whole.seconds or 0) - (sent.seconds or 0) == pytest.approx(computed_s, rel=0.01)
    assert "matmul" in (whole.calibration_cases or "")


def test_a_step_that_overlaps_or_has_no_products_is_not_composed():
    axes = {**WIDTHS, "split": "data", "batch": 128, "layers": 2}
    (found,) = predict(PRODUCTS + block("training_step", overlap="backward", **axes))
    assert "none: how far" in found.formula
    (found,) = predict(block("training_step", **axes))
    assert "add matmul" in found.formula
    (found,) = predict(PRODUCTS + block("training_step", **{**axes, "threads": 0}))
    assert "name the threads" in found.formula
    # Three ranks of a node take memory's bandwidth from each other; one alone was measured.
    (found,) = predict(PRODUCTS + block("training_step", **{**axes, "ranks": 6}))
    assert "products of 3 ranks a node" in found.formula
    twins = PRODUCTS + PRODUCTS.replace("k = 1000", "k = 500").replace("n = 500", "n = 1000")
    (found,) = predict(twins + block("training_step", **axes))
    assert "sizes of weights" in found.formula


def test_a_case_with_a_curve_of_its_own_keeps_it():
    sizes = 'bytes = { from = "8 B", to = "1 MiB", per_octave = 1 }'
    own = f'\n[[benchmark]]\nname = "allreduce"\n{sizes}\nranks = 6'
    plan = plan_of(own)
    predictions = predict_targets(plan, measure(plan, free_both_ways), FROZEN, HOSTS)
    assert len(predictions) > 8
    assert not any("composed" in found.formula for found in predictions)


def test_nothing_is_composed_where_all_cases_have_curves_and_once_for_all_launches(monkeypatch):
    composed: list[str] = []

    def counted(case: Case, *rest: Any) -> Composition:
        composed.append(case.id)
        return compose_case(case, *rest)

    monkeypatch.setattr("bench.predict.fit.compose_case", counted)
    text = MESSAGES.format(targets=block("exchange", strategy="ring", bytes=2**20, ranks=6))
    plan = make_plan(parse_suite(text, "messages"), launches=3)
    found = predict_targets(plan, measure(plan, free_both_ways), FROZEN, HOSTS)
    assert len(found) == 3
    assert len({one.seconds for one in found}) == 1
    assert len(composed) == 1
    monkeypatch.setattr("bench.predict.fit.fit_parts", lambda *_: pytest.fail("nothing needs it"))
    sizes = 'bytes = { from = "8 B", to = "1 MiB", per_octave = 1 }'
    plan = make_plan(
        parse_suite(f'[suite]\nname = "s"\n[[benchmark]]\nname = "latency"\n{sizes}', "s")
    )
    assert predict_targets(plan, measure(plan, free_both_ways), FROZEN, HOSTS)


def test_a_link_that_beats_itself_is_an_alarm():
    plan = plan_of(block("exchange", strategy="ring", bytes=2**20, ranks=6))

    def hollow(case: Case, _across: bool) -> float:
        return max(1e-9, int(case.axes["bytes"]) ** 1.3 / LINK)

    (found,) = predict_targets(plan, measure(plan, hollow), FROZEN, HOSTS)
    assert "alarm: no latency above 0" in found.formula


def test_the_suite_calibrates_on_messages_alone_and_composes_all_others():
    plan = make_plan(load_suite("prediction"))
    calibrated = {
        case.benchmark for job in plan.jobs if job.stage is Stage.CALIBRATE for case in job.cases
    }
    assert calibrated == {"latency", "bandwidth", "bibandwidth", "multi_pair", "matmul"}
    found = predict_targets(plan, measure(plan, free_both_ways), FROZEN, HOSTS)
    assert all(one.seconds for one in found), [one.formula for one in found if not one.seconds]
    assert {one.case.split("/")[0] for one in found} <= COMPOSED <= MEASUREMENTS.keys()
