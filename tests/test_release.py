"""What a case allocated goes when the case is over: ranks run with the collector off."""

import gc
import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from meeting import Loops, Meeting
from test_measure import LOCAL, make_case
from test_verbs import Ends, put_programs, told_latency, told_rate

from bench.contracts import Context, Seconds
from bench.core.events import Event
from bench.core.records import Axis, Case, Job, Stage
from bench.measure import MEASUREMENTS
from bench.measure.exchange.gradient import STRATEGIES
from bench.measure.training.network import OVERLAPS, SPLITS
from bench.rank import job
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

STEP: dict[str, Axis] = {"batch": 13, "d_in": 17, "d_out": 11, "layers": 3}
VARIED = [
    *(make_case("exchange", strategy=strategy, bytes=4096) for strategy in STRATEGIES),
    *(make_case("training_step", split=split, **STEP) for split in SPLITS),
    make_case("training_step", split="data", strategy="one-bit", **STEP),
    *(make_case("training_step", split="data", overlap=each, **STEP) for each in OVERLAPS),
    make_case("latency", memory="standin", path="staged"),
    make_case("copy", memory="host", dst_memory="standin"),
]
CASES = [
    *(make_case(name) for name in sorted({*MEASUREMENTS} - {"peer_copy", "verbs", "copy"})),
    *VARIED,
]
"""`peer_copy` has a GPU, and `verbs` programs, that are tested apart."""


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.fixture(autouse=True)
def between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loops of their own between two ranks end at once: what they hold is the point here."""

    def run(_self: Loops, seconds: Seconds, *_: object) -> None:
        seconds[:] = 1e-6

    for name in ("pingpong", "window", "exchange_window"):
        monkeypatch.setattr(Loops, name, run, raising=False)


def left_over() -> list[str]:
    """Return the types of our own objects, and of arrays, that nothing but a cycle still holds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found: list[Any] = list(gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    ours = [x for x in found if type(x).__module__.startswith("bench.") or type(x) is np.ndarray]
    return sorted({type(x).__qualname__ for x in ours})


def run_and_drop(case: Case, context: Context, ranks: int) -> None:
    meeting = Meeting(ranks)
    measurement = MEASUREMENTS[case.benchmark]
    operations = meeting.prepare(measurement, case, context)

    def run(rank: int) -> None:
        if not operations[rank].idle:
            operations[rank].verify(1)
            operations[rank].run(np.empty(2), 1)

    meeting.all_do(run)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_no_operation_outlives_its_case(case: Case, context: Context):
    ranks = 1 if case.benchmark in LOCAL else max(2, int(case.axes.get("ranks", 2)))
    run_and_drop(case, context, ranks)
    assert left_over() == []


class Knot:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(("took_s", "stays"), [(0.1, True), (1.0, False)])
def test_after_a_long_case_what_holds_itself_is_collected(monkeypatch, context, took_s, stays):
    left: list[weakref.ref[Knot]] = []
    clock = itertools.chain([0.0], itertools.repeat(took_s))

    def execute(cases: tuple[Case, ...], *_: object) -> list[list[Event]]:
        left.append(weakref.ref(Knot()))
        return [[] for _ in cases]

    monkeypatch.setattr(job, "execute_at_once", execute)
    monkeypatch.setattr(job.time, "perf_counter", lambda: next(clock))
    one = Job("j", Stage.TARGET, 0, 1, 1, (make_case("memcpy"),))
    assert [*job.execute_job(one, SoloWorld(), context)]
    assert (left[0]() is not None) == stays


@pytest.mark.usefixtures("no_collector")
def test_no_program_of_verbs_outlives_its_case(tmp_path):
    put_programs(tmp_path, told_rate(4096, 5e-7), told_latency(4096, 2e-6))
    ends = Ends(tmp_path)
    ends.run(make_case("verbs", bytes=4096), 1)
    del ends
    assert left_over() == []
