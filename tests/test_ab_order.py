"""In which order launches of two arms are measured, what arms set, and drift that both share."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.run.ab.asked import stored_asked
from bench.run.ab.drift import find_drift
from bench.run.ab.keys import choose_arm, parse_keys
from bench.run.ab.schedule import change_by_hand, interleave, next_slots, until_change
from bench.run.request import Request
from bench.store.ab import Slot

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 40))
def test_each_block_has_one_launch_of_both_sides(seed, launches):
    slots = interleave(seed, launches)
    for i in range(launches):
        first, second = slots[2 * i : 2 * i + 2]
        assert {first.side, second.side} == {"a", "b"}
        assert first.launch == second.launch == i
        assert first.block == second.block != 0
    assert len({slot.block for slot in slots}) == launches


@given(SEEDS, st.integers(1, 20), st.integers(0, 20))
def test_more_launches_change_no_earlier_one(seed, launches, more):
    first = interleave(seed, launches)
    assert first + interleave(seed, launches + more, launches) == interleave(seed, launches + more)


@given(SEEDS, st.integers(1, 20), st.floats(-1, 1))
def test_a_steady_drift_falls_on_both_sides_alike(seed, blocks, slope):
    slots = interleave(seed, 2 * blocks)
    sums = Counter()
    for place, slot in enumerate(slots):
        sums[slot.side] += slope * place
    assert sums["a"] == pytest.approx(sums["b"])


def test_who_comes_first_is_drawn():
    first = Counter(
        (launch, interleave(seed, 4)[2 * launch].side) for seed in range(400) for launch in range(4)
    )
    # Four standard deviations of 400 throws of a coin.
    assert all(abs(count - 200) < 40 for count in first.values())
    orders = {tuple(slot.side for slot in interleave(seed, 6)) for seed in range(200)}
    assert len(orders) == 8


def test_a_change_by_hand_stands_between_two_halves_of_a():
    slots = change_by_hand(10)
    assert [slot.period for slot in slots] == [0] * 5 + [1] * 10 + [2] * 5
    assert {slot.side for slot in slots if slot.period == 1} == {"b"}
    assert [slot.launch for slot in slots if slot.side == "a"] == list(range(10))
    assert all(slot.block is None for slot in slots)
    assert until_change(slots, by_hand=True) == slots[:5]
    for slot in slots[:5]:
        slot.state = "done"
    assert until_change(slots, by_hand=True) == slots[:15]
    assert until_change(slots, by_hand=False) == slots


def test_only_slots_on_hosts_of_their_own_are_measured_side_by_side():
    def slot(side: str, hosts: str, period: int = 0) -> Slot:
        return Slot(side=side, launch=0, block=1, period=period, hosts=tuple(hosts))

    a, b = slot("a", "xy"), slot("b", "vw")
    assert next_slots([a, b]) == [a, b]
    assert next_slots([a, slot("b", "yz")]) == [a]
    assert next_slots([a, slot("a", "vw")]) == [a]
    assert next_slots([a, slot("b", "vw", period=1)]) == [a]
    assert next_slots([slot("a", ""), b]) == [slot("a", "")]
    a.state = "done"
    assert next_slots([a, b]) == [b]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hostfiles=x"], "no key 'hostfiles'; did you mean 'hostfile'?"),
        (["UCX_TLS=tcp"], "a variable is env.UCX_TLS=VALUE"),
        (["speed=9"], "valid: bind, env.NAME"),
        (["env.X=1", "env.X=2"], "sets env.X twice"),
        (["mca.btl=tcp,self", "env.OMPI_MCA_btl=sm,self"], "are the same"),
        (["env.A-B=1"], "'A-B' is no name"),
        (["mca.=1"], "'' is no name"),
        (["launcher"], "no value; write KEY=VALUE"),
        (["label="], "no value; write label=VALUE"),
        (["hosts=x", "hostfile=y"], "leave one of them out"),
        (["bind=cores"], "did you mean 'core'?"),
    ],
)
def test_a_wrong_key_is_told_in_one_line(words, said):
    with pytest.raises(RequestError) as refused:
        parse_keys("--b", words)
    assert said in str(refused.value)
    assert str(refused.value).startswith("--b")
    assert "\n" not in str(refused.value)


def test_what_an_arm_sets_beats_what_is_asked_of_both(tmp_path):
    both = Request(suite="quick", hosts="x,y", bind="none", label="old")
    sets = parse_keys("--a", ["hostfile=h", "env.X=a=b", "env.Y=", "mca.btl=tcp,self", "label=new"])
    arm = choose_arm("--a", sets, both)
    assert arm.request.hosts is None
    assert arm.request.hostfile == Path("h").absolute()
    assert arm.request.variables == {"X": "a=b", "Y": "", "OMPI_MCA_btl": "tcp,self"}
    assert (arm.request.bind, arm.request.label) == ("none", "new")
    assert (arm.parameters, arm.python) == (("btl",), None)
    assert stored_asked(arm.request.flags(), "quick") == arm.request


@pytest.mark.parametrize("made", ["nothing", "file", "folder", "python"])
def test_an_environment_without_this_program_is_refused(made, tmp_path):
    where = tmp_path / "env"
    if made == "file":
        where.write_text("no program")
    elif made != "nothing":
        (where / "bin").mkdir(parents=True)
    if made == "python":
        (where / "bin" / "python").write_text("#!/bin/sh\necho 'no module bench' >&2\nexit 1\n")
        (where / "bin" / "python").chmod(0o755)
    with pytest.raises(RequestError, match=r"^--b mpi=.*: no (Python environment|clusterbench)"):
        choose_arm("--b", {"mpi": str(where)}, Request(suite="quick"))


def launches(seed: int, count: int, slope: float) -> dict[int, dict[str, float]]:
    """Return times of three cases, with 1 % of noise and a drift from the first to the last."""
    noise = random.Random(seed)  # noqa: S311 - noise, not a secret
    return {
        launch: {
            case: base * math.exp(slope * launch / count + noise.gauss(0, 0.01))
            for case, base in (("x", 1e-6), ("y", 2e-3), ("z", 4.0))
        }
        for launch in range(count)
    }


def test_drift_that_both_sides_share_is_found_with_its_direction_and_size():
    finding = find_drift({"a": launches(1, 12, 0.3), "b": launches(2, 12, 0.3)})
    assert finding is not None
    # From the middle of the first third to that of the last one: two thirds of all.
    assert float(finding.value or 0) == pytest.approx(math.exp(0.2) - 1, abs=0.03)
    faster = find_drift({"a": launches(1, 12, -0.3), "b": launches(2, 12, -0.3)})
    assert faster is not None
    assert "faster" in faster.text


def test_drift_of_one_side_alone_or_of_none_is_not_shared():
    assert find_drift({"a": launches(1, 12, 0.3), "b": launches(2, 12, 0.0)}) is None
    assert find_drift({"a": launches(1, 12, 0.3), "b": launches(2, 12, -0.3)}) is None
    assert find_drift({"a": launches(1, 4, 0.3), "b": launches(2, 4, 0.3)}) is None
    still = (
        find_drift({"a": launches(i, 12, 0), "b": launches(1000 + i, 12, 0)}) for i in range(300)
    )
    assert not any(still)
