"""Many at once: who sends to whom, how ends fall, whose bytes were wrong, and rounds of pairs."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import Loops, Meeting, World
from test_measure import OPEN, make_case
from test_mpi import by_case, run

from bench.contracts import Context, Peer, Seconds, Slots
from bench.core.events import CaseEnded, Event, Samples
from bench.core.records import Axis, Case, Sampling, Status, Work, parse_params
from bench.core.schedule import Code, Schedule
from bench.judge.hosts import Line, make_matrices
from bench.measure import MEASUREMENTS
from bench.measure.expansion import each_case, group_cases
from bench.measure.multi_pair import completions, judge
from bench.measure.pairs import round_number
from bench.measure.transfers import Transfers
from bench.plan.plan import expand, make_plan
from bench.plan.suite import Block, override_ranks, parse_suite
from bench.rank.case import execute_at_once
from bench.rank.context import open_context
from bench.rank.world import SoloWorld
from bench.store.files import RESULTS_FILE
from bench.store.folder import open_run

AT_ONCE = ("multi_pair", "fan_in", "fan_out", "ring_shift")


@pytest.fixture(scope="module")
def context() -> Context:
    return msgspec.structs.replace(open_context(SoloWorld(), 1), own_cores=False)


def measurement_of(name: str) -> Transfers:
    measurement = MEASUREMENTS[name]
    assert isinstance(measurement, Transfers)
    return measurement


def routes(name: str, **axes: Axis) -> list[tuple[int, int]]:
    return [tuple(route) for route in measurement_of(name).routes(make_case(name, **axes))]


def small(name: str, many: int = 3) -> Case:
    """Return a case of small windows between several ranks."""
    size = {"multi_pair": {"pairs": many}, "ring_shift": {"ranks": many}}
    return make_case(name, bytes=1000, window=4, **size.get(name, {"peers": many}))


# Who sends to whom, and what that is.


@pytest.mark.parametrize(
    ("pattern", "pairs"),
    [
        ("bisection", [(0, 3), (1, 4), (2, 5)]),
        ("farthest", [(0, 5), (1, 4), (2, 3)]),
        ("neighbours", [(0, 1), (2, 3), (4, 5)]),
    ],
)
def test_pairs_follow_their_pattern(pattern: str, pairs: list[tuple[int, int]]) -> None:
    assert routes("multi_pair", pairs=3, pattern=pattern) == pairs


def test_fewer_pairs_than_the_world_holds_lie_where_they_would_among_all() -> None:
    assert routes("multi_pair", pairs=2, ranks=8) == [(0, 4), (1, 5)]


def test_fans_meet_in_one_rank() -> None:
    assert routes("fan_in", peers=3) == [(0, 3), (1, 3), (2, 3)]
    assert sorted(routes("fan_out", peers=3)) == [(0, 1), (0, 2), (0, 3)]


def test_a_ring_loads_every_rank_in_both_directions_at_every_distance() -> None:
    axes = {axis.name: axis.default[0] for axis in MEASUREMENTS["ring_shift"].axes}
    seen = []
    for one in each_case("ring_shift", {**axes, "ranks": 5}):
        found = measurement_of("ring_shift").routes(Case("", "ring_shift", one))
        assert sorted(route.source for route in found) == list(range(5))
        assert sorted(route.target for route in found) == list(range(5))
        seen += [tuple(route) for route in found]
    assert sorted(seen) == sorted(itertools.permutations(range(5), 2))


@pytest.mark.parametrize(
    ("name", "count"), [("multi_pair", 3), ("fan_in", 3), ("fan_out", 3), ("ring_shift", 3)]
)
def test_the_rate_is_the_sum_over_all_windows(name: str, count: int) -> None:
    work = measurement_of(name).work(small(name))
    assert work == Work(bytes=1000, bytes_total=count * 1000, rate_bytes=count * 1000)


def test_a_world_size_that_is_left_open_is_that_of_the_ranks_that_take_part() -> None:
    assert make_case("multi_pair", pairs=3).axes["ranks"] == 6
    assert make_case("fan_in", peers=3).axes["ranks"] == 4
    assert make_case("multi_pair", pairs=3, ranks=8).axes["ranks"] == 8


@pytest.mark.parametrize("name", AT_ONCE)
def test_one_rank_never_holds_more_in_flight_than_a_pair_does(name: str) -> None:
    case = msgspec.structs.replace(small(name), axes={**small(name).axes, "bytes": 2**24})
    assert measurement_of(name).columns(case)["window"] == (1 if name.startswith("fan") else 4)


@pytest.mark.parametrize("name", sorted(OPEN))
def test_a_world_too_small_is_skipped_and_says_what_is_needed(name: str, context: Context) -> None:
    suite = f'[suite]\nname = "x"\n[[benchmark]]\nname = "{name}"\n'
    suite += f"{'pairs' if name == 'multi_pair' else 'peers'} = 3\n"
    (job,) = make_plan(override_ranks(parse_suite(suite, "x"), 3)).jobs
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(3), 0))
    reason = MEASUREMENTS[name].unsupported(job.cases[0], here) or ""
    assert f"needs {6 if name == 'multi_pair' else 4} ranks" in reason
    assert "there are 3" in reason


# How ends fall.


@pytest.mark.parametrize("pairs", [2, 3, 4, 8])
def test_pairs_that_share_fairly_end_together(pairs: int) -> None:
    rng = np.random.default_rng(1)
    seconds = rng.uniform(0.95, 1.05, (pairs, 40))
    assert judge(completions(seconds)) == "fair"


@pytest.mark.parametrize("pairs", [2, 3, 4, 8])
def test_pairs_served_one_after_the_other_end_so_in_whichever_order(pairs: int) -> None:
    rng = np.random.default_rng(1)
    steps = np.arange(1, pairs + 1) / pairs
    turns = [rng.permutation(steps) * rng.uniform(0.97, 1.03, pairs) for _ in range(40)]
    ends = completions(np.array(turns).T)
    assert ends == pytest.approx(steps.tolist(), abs=0.04)
    assert judge(ends) == "in_turn"


@pytest.mark.parametrize("ends", [(0.2, 1.0), (0.75, 1.0), (0.9, 0.95, 0.5, 1.0), (0.1, 0.1, 1.0)])
def test_what_is_neither_is_said_to_be_between(ends: tuple[float, ...]) -> None:
    assert judge(sorted(ends)) == "between"


@given(st.integers(2, 30), st.randoms(use_true_random=False))
def test_no_ends_are_both_fair_and_in_turn(pairs: int, random: Any) -> None:
    ends = sorted(random.uniform(0, 1) for _ in range(pairs - 1))
    assert judge([*ends, 1.0]) in ("fair", "in_turn", "between")
    assert judge([1.0] * pairs) == "fair"
    assert judge([(i + 1) / pairs for i in range(pairs)]) == "in_turn"


def test_each_pair_is_told_of_and_the_slowest_is_the_least_rate() -> None:
    case = make_case("multi_pair", pairs=3, bytes=1_000_000)
    samples = {rank: np.full(6, 1e-3 * (rank + 1)) for rank in range(3)}
    told = measurement_of("multi_pair").compare_ranks(case, samples)
    assert told["pair_max_gbytes_per_s"] == 1.0
    assert told["pair_median_gbytes_per_s"] == 0.5
    assert told["pair_min_gbytes_per_s"] == 0.3333
    assert told["completion"] == "in_turn"
    assert told["completions"] == "0.333 0.667 1.000"


def test_one_pair_alone_completes_neither_fairly_nor_in_turn() -> None:
    told = measurement_of("multi_pair").compare_ranks(
        make_case("multi_pair"), {0: np.full(6, 1e-3)}
    )
    assert "completion" not in told


def test_a_ring_names_its_slowest_route() -> None:
    case = next(
        case
        for case in expand(
            Block(
                "ring_shift",
                {a.name: a.default for a in MEASUREMENTS["ring_shift"].axes} | {"ranks": (4,)},
            )
        )
        if case.axes["distance"] == 3
    )
    samples = {rank: np.full(6, 1e-3 if rank != 1 else 4e-3) for rank in range(4)}
    assert measurement_of("ring_shift").compare_ranks(case, samples)["slowest_route"] == "2-1"


# Rounds of disjoint pairs.


@given(st.integers(2, 41))
def test_rounds_hold_every_pair_once_and_no_rank_twice(ranks: int) -> None:
    rounds: dict[int, list[int]] = {}
    for one, other in itertools.combinations(range(ranks), 2):
        assert round_number(one, other, ranks) == round_number(other, one, ranks)
        rounds.setdefault(round_number(one, other, ranks), []).extend((one, other))
    assert sorted(rounds) == list(range(ranks - 1 if ranks % 2 == 0 else ranks))
    for members in rounds.values():
        assert len(set(members)) == len(members) == 2 * (ranks // 2)


def pair_cases(name: str, ranks: int, **axes: Axis) -> list[Case]:
    default = {axis.name: axis.default for axis in MEASUREMENTS[name].axes}
    default |= {"ranks": (ranks,), "at_once": ("round",)}
    return list(expand(Block(name, {**default, **{axis: (v,) for axis, v in axes.items()}})))


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("pairs_latency", 5), ("pairs_bandwidth", 10), ("pairs_bibandwidth", 5)],
)
def test_the_cases_of_a_round_are_measured_at_once_and_both_ways_in_turn(
    name: str, rounds: int
) -> None:
    groups = group_cases(pair_cases(name, 6))
    assert [len(group) for group in groups] == [3] * rounds
    for group in groups:
        ends = [int(case.axes[end]) for case in group for end in ("src_rank", "dst_rank")]
        assert sorted(ends) == list(range(6))


def test_cases_of_different_sizes_are_no_round() -> None:
    cases = [*pair_cases("pairs_latency", 4, bytes=8), *pair_cases("pairs_latency", 4, bytes=16)]
    for group in group_cases(cases):
        assert len({case.axes["bytes"] for case in group}) == 1


def test_pairs_one_at_a_time_stay_so_and_keep_their_ids() -> None:
    cases = pair_cases("pairs_bandwidth", 4, at_once="pair")
    assert [len(group) for group in group_cases(cases)] == [1] * 12
    assert "at_once" not in cases[0].id


def test_a_plan_shuffles_rounds_and_not_their_pairs() -> None:
    suite = """
[suite]
name = "x"
[[benchmark]]
name = "pairs_latency"
at_once = ["pair", "round"]
ranks = 8
"""
    (job,) = make_plan(parse_suite(suite, "x")).jobs
    groups = group_cases(job.cases)
    assert list(itertools.chain.from_iterable(groups)) == list(job.cases)
    assert sorted(map(len, groups)) == [1] * 28 + [4] * 7


def test_the_map_of_hosts_keeps_rounds_and_single_pairs_apart() -> None:
    ends = list(itertools.permutations(("a:rank0", "b:rank1", "c:rank2"), 2))
    alone = [Line(*pair, 8, 1, "host", "direct", 50.0) for pair in ends]
    loaded = [line._replace(rate=20.0, at_once=2) for line in alone]
    one, two = make_matrices([*alone, *loaded])
    assert (set(one.rates.values()), one.at_once) == ({50.0}, 1)
    assert (set(two.rates.values()), two.at_once) == ({20.0}, 2)
    assert "2 pairs at once" in two.kind


# Ranks as threads: whose bytes were wrong.


class PairLoops(Loops):
    """The loops between two ranks, as schedules."""

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        steps = Schedule()
        if peer.leads:
            steps.send(send, nbytes, peer.rank)
        steps.receive(receive, nbytes, peer.rank)
        if not peer.leads:
            steps.send(send, nbytes, peer.rank)
        self.follow(seconds, loops, steps.cut())

    def window(self, seconds: Seconds, loops: int, slots: Slots, peer: Peer) -> None:
        steps = Schedule()
        start = steps.start_send if peer.leads else steps.start_receive
        for slot in range(slots.window):
            start(slots.at(slot), slots.nbytes, peer.rank)
        steps.wait()
        self.follow(seconds, loops, steps.cut())


def carry_out(
    cases: tuple[Case, ...], ranks: int, context: Context, bad: int | None = None
) -> list[list[Event]]:
    """Return the events of cases on threads; one byte of each message to one rank may be wrong."""

    def spoil(_code: Code, rank: int, elements: Any) -> None:
        if rank == bad:
            elements[-1] ^= 1

    meeting, words = Meeting(ranks, spoil), Meeting(ranks)
    rule = Sampling(cap_s=0.001, warmup_s=0.0, warmup_cap_s=0.001)

    def work(rank: int) -> list[list[Event]]:
        world = World(words, rank, (0,) * ranks)
        here = msgspec.structs.replace(
            context, communicator=world, message_loops=PairLoops(meeting, rank)
        )
        return execute_at_once(cases, rule, world, here)

    found: list[list[Event]] = meeting.all_do(work)[0]
    return found


def ended(events: list[Event]) -> CaseEnded:
    assert isinstance(events[-1], CaseEnded)
    return events[-1]


@pytest.mark.parametrize("name", AT_ONCE)
def test_the_messages_of_a_route_may_share_a_buffer_and_no_others_do(
    name: str, context: Context
) -> None:
    size = {"multi_pair": {"pairs": 3}, "ring_shift": {"ranks": 3}}.get(name, {"peers": 3})
    case = make_case(name, bytes=1000, window=4, buffers="shared", **size)
    (events,) = carry_out((case,), int(case.axes["ranks"]), context)
    row = ended(events)
    assert (row.status, row.bytes_wrong, row.bytes_checked) == (Status.OK, 0, 2 * 3 * 1000)


@pytest.mark.parametrize("name", AT_ONCE)
def test_right_bytes_are_right_and_only_those_are_heard_who_keep_the_time(
    name: str, context: Context
) -> None:
    case = small(name)
    (events,) = carry_out((case,), int(case.axes["ranks"]), context)
    row = ended(events)
    assert (row.status, row.bytes_wrong, row.bytes_checked) == (Status.OK, 0, 2 * 3 * 4 * 1000)
    heard = {event.rank for event in events if isinstance(event, Samples)}
    assert (
        heard
        == {
            "multi_pair": {0, 1, 2},
            "fan_in": {0, 1, 2},
            "fan_out": {0},
            "ring_shift": {0, 1, 2},
        }[name]
    )


@pytest.mark.parametrize(
    ("name", "bad"), [("multi_pair", 4), ("fan_in", 3), ("fan_out", 2), ("ring_shift", 1)]
)
def test_a_wrong_byte_fails_the_row_and_the_reason_names_the_rank(
    name: str, bad: int, context: Context
) -> None:
    case = small(name)
    (events,) = carry_out((case,), int(case.axes["ranks"]), context, bad)
    row = ended(events)
    assert row.status is Status.FAILED
    assert (row.reason or "").endswith(f"bytes checked, on rank {bad}")
    # One byte of each message to it, before and after.
    assert row.bytes_wrong == 2 * 4 * (3 if name == "fan_in" else 1)
    assert not any(isinstance(event, Samples) for event in events)


@pytest.mark.parametrize("name", ["pairs_latency", "pairs_bandwidth"])
@pytest.mark.parametrize("bad", [None, 1, 4])
def test_of_a_round_the_pair_with_a_wrong_byte_fails_and_the_others_are_measured(
    name: str, bad: int | None, context: Context
) -> None:
    windows: dict[str, Axis] = {"window": 4} if name == "pairs_bandwidth" else {}
    groups = group_cases(pair_cases(name, 5, bytes=1000, **windows))
    cases = next(
        g for g in groups if {(c.axes["src_rank"], c.axes["dst_rank"]) for c in g} >= {(0, 1)}
    )
    rows = {}
    for case, events in zip(cases, carry_out(cases, 5, context, bad), strict=True):
        ends = {int(case.axes["src_rank"]), int(case.axes["dst_rank"])}
        rows[frozenset(ends)] = row = ended(events)
        assert row.params == {"cases_at_once": 2, "idle_ranks": 1}
        heard = {event.rank for event in events if isinstance(event, Samples)}
        assert heard == (set() if row.status is Status.FAILED else ends)
    assert len(rows) == 2
    failed = [ends for ends, row in rows.items() if row.status is Status.FAILED]
    assert failed == [ends for ends in rows if bad in ends]
    assert all(f"on rank {bad}" in (rows[ends].reason or "") for ends in failed)


def test_ranks_beyond_the_pairs_sleep(context: Context) -> None:
    case = make_case("multi_pair", pairs=1, ranks=4, bytes=100, window=2)
    (events,) = carry_out((case,), 4, context)
    assert ended(events).params["idle_ranks"] == 2
    assert {event.rank for event in events if isinstance(event, Samples)} == {0}


# For real.

SUITE = """
[suite]
name = "many"
cap_s = 0.02
[[benchmark]]
name = "multi_pair"
bytes = ["8 B", "64 KiB"]
window = 8
pairs = [1, 2]
[[benchmark]]
name = "fan_in"
bytes = "64 KiB"
window = 4
peers = 3
[[benchmark]]
name = "fan_out"
bytes = "64 KiB"
window = 4
peers = [1, 3]
[[benchmark]]
name = "ring_shift"
bytes = "64 KiB"
window = 4
ranks = [2, 4]
[[benchmark]]
name = "pairs_latency"
at_once = "round"
ranks = 4
[[benchmark]]
name = "pairs_bandwidth"
bytes = "64 KiB"
window = 4
at_once = "round"
ranks = 4
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_many_at_once_on_2_and_4_ranks_and_one_pair_of_a_round_again(tmp_path: Path) -> None:
    done = run(tmp_path, suite=SUITE)
    rows = by_case(done)
    assert len(rows) == 4 + 1 + 2 + 4 + 6 + 12
    assert {(row.status, row.bytes_wrong) for row in rows.values()} == {(Status.OK, 0)}
    two = rows["multi_pair/bytes=65536/pairs=2/ranks=4/window=8"]
    assert two.gbytes_per_s == pytest.approx(2 * 65536 / (two.t_median_s or 0) / 1e9)
    assert two.slowest_rank in (0, 1)
    assert parse_params(two.params)["completion"] in ("fair", "in_turn", "between")
    for row in rows.values():
        params = parse_params(row.params)
        if row.benchmark.startswith("pairs"):
            assert (params["cases_at_once"], row.pairs) == ("2", 2)
            assert "idle_ranks" not in params
    heard: dict[str, set[int]] = {}
    for sample in done.samples():
        heard.setdefault(sample.case, set()).add(sample.rank)
    assert heard["fan_out/bytes=65536/peers=3/ranks=4/window=4"] == {0}
    assert heard["ring_shift/bytes=65536/distance=3/ranks=4/window=4"] == {0, 1, 2, 3}
    drop_last_pair(done.path / RESULTS_FILE)
    subprocess.run(
        [sys.executable, "-P", "-m", "bench", "resume", str(done.path), "--no-report"],
        check=True,
        capture_output=True,
        timeout=600,
        env=os.environ,
    )
    again = by_case(open_run(done.path))
    assert set(again) == set(rows)
    new = [case for case, row in again.items() if row.attempt > 0]
    assert len(new) == 1
    assert "cases_at_once" not in parse_params(again[new[0]].params)


def drop_last_pair(results: Path) -> None:
    """Remove the last row of a pair, as if the run had been stopped before it."""
    lines = results.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if "pairs_bandwidth" in line)
    results.write_text("".join(lines[:last] + lines[last + 1 :]))
