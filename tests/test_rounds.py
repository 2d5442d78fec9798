"""Rounds: a case that met a slow state is measured again, and its row names that state."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from bench.core.events import CaseEnded, CaseStarted, Event
from bench.core.records import Case, Job, Sampling, Stage, Status
from bench.rank import job as rounds
from bench.rank.ceilings import CeilingProbe
from bench.rank.context import open_context
from bench.rank.core_probe import Probe
from bench.rank.pacing import Pacer
from bench.rank.world import SoloWorld

FAST_S, SLOW_S = 150e-9, 370e-9


class ScriptedProbe(Probe):
    """A probe whose machine is in given states, one for each probe, and then in the last one."""

    def __init__(self, states: list[float], reference_s: float | None = None) -> None:
        super().__init__(SoloWorld(), open_context(SoloWorld(), 1), reference_s)
        self._states = states

    def measure(self, cap_s: float = 0.5) -> float:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        self.best_s = min(self.best_s, state)
        return state


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the cases that were measured, in order; each takes a second."""
    names: list[str] = []

    def execute(case: Case, *_: object) -> Iterator[Event]:
        names.append(case.id)
        yield CaseEnded(case=case.id, status=Status.OK, params={"take": names.count(case.id)})

    monkeypatch.setattr(rounds, "execute_case", execute)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: float(len(names)))
    return names


def carry_out(probe: Probe, stage: Stage = Stage.TARGET, count: int = 3) -> dict[str, CaseEnded]:
    cases = tuple(Case(f"c{i}", "latency", {"bytes": 8}) for i in range(count))
    job = Job("j", stage, 0, 2, 1, cases, Sampling(cap_s=0.1))
    world, context = SoloWorld(), open_context(SoloWorld(), 1)
    ceilings = CeilingProbe(world, context)
    events = list(rounds._in_rounds(job, world, context, probe, Pacer(job, world), ceilings))
    started = [event.case for event in events if isinstance(event, CaseStarted)]
    ended = [event for event in events if isinstance(event, CaseEnded)]
    assert {event.case for event in ended} == {case.id for case in cases}
    assert len(ended) == len(cases)
    assert set(started) == {case.id for case in cases}
    return {event.case: event for event in ended}


@pytest.mark.parametrize("stage", list(Stage))
def test_on_a_steady_machine_each_case_is_measured_once(executed, stage):
    rows = carry_out(ScriptedProbe([FAST_S]), stage)
    assert executed == ["c0", "c1", "c2"]
    assert all("state_percent" not in row.params for row in rows.values())


@pytest.mark.parametrize("stage", list(Stage))
def test_a_case_that_met_a_slow_state_is_measured_again_and_the_better_one_counts(executed, stage):
    rows = carry_out(ScriptedProbe([FAST_S, FAST_S, SLOW_S, SLOW_S, FAST_S]), stage)
    assert executed == ["c0", "c1", "c2", "c1"]
    assert rows["c1"].params == {"take": 2}


def test_calibration_learns_at_its_end_that_it_began_in_a_slow_state(executed):
    rows = carry_out(ScriptedProbe([SLOW_S, SLOW_S, FAST_S]), Stage.CALIBRATE)
    assert executed == ["c0", "c1", "c2", "c0"]
    assert rows["c0"].params == {"take": 2}


def test_what_stays_slow_says_so_and_ends(executed):
    rows = carry_out(ScriptedProbe([FAST_S, FAST_S, SLOW_S]))
    assert executed.count("c0") == 1
    assert 2 <= executed.count("c1") <= rounds.MOST_ROUNDS
    assert rows["c1"].params["state_percent"] == round(100 * SLOW_S / FAST_S)
    assert "state_percent" not in rows["c0"].params


@pytest.mark.parametrize(("now_s", "percent"), [(SLOW_S, 247), (FAST_S, None), (60e-9, 40)])
def test_a_target_in_another_state_than_the_calibration_says_so_faster_or_slower(
    executed, now_s, percent
):
    rows = carry_out(ScriptedProbe([now_s], FAST_S))
    assert rows["c0"].params.get("state_percent") == percent


@pytest.mark.parametrize(
    ("one_way_s", "probes", "most_s"), [(1.5e-7, 9, 0.002), (1.5e-5, 9, 0.02), (4e-3, 7, 0.6)]
)
def test_a_probe_is_short_between_cores_over_a_network_and_where_ranks_take_turns(
    one_way_s, probes, most_s, monkeypatch
):
    now_s, signs = [0.0], []

    class Loops:
        def pingpong(self, seconds: np.ndarray, loops: int, *_: object) -> None:
            now_s[0] += 2 * one_way_s * loops * len(seconds)
            seconds[:] = one_way_s

    context = msgspec.structs.replace(
        open_context(SoloWorld(), 1),
        message_loops=Loops(),
        alive=lambda: signs.append(now_s[0]),
    )
    monkeypatch.setattr("bench.rank.core_probe.time.perf_counter", lambda: now_s[0])
    probe = Probe(SoloWorld(), context, None)
    assert probe.measure() == pytest.approx(one_way_s)
    assert len(signs) == probes
    assert now_s[0] <= most_s
    signs.clear()
    # In a hurry one look is enough.
    probe.measure(cap_s=1e-6)
    assert len(signs) == 1
