"""Sets of pages: turned through one by one, all verified, as many as there is memory for."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from meeting import Meeting, World

from bench.contracts import Checked, Seconds
from bench.core.clusters import level_clusters
from bench.core.records import PAGE_SETS, Sampling
from bench.machine.memory import read_free_memory
from bench.rank.page_sets import LEAST_BYTES, MOST_SETS, PageSets, count_sets, turn_page_sets
from bench.rank.timing.sampling import Sampled, sample

GIB = 2**30


def no_sign() -> None:
    """Give no sign of life."""


class OnPages:
    """An operation whose time tells which set it ran on."""

    idle = False
    timing_layer = "none"
    overhead_s = None

    def __init__(self, seconds: float, wrong: int = 0) -> None:
        self.params: dict[str, Any] = {"of": "case"}
        self.verified: list[int] = []
        self._seconds = seconds
        self._wrong = wrong

    def run(self, seconds: Seconds, loops: int) -> None:
        seconds[:] = self._seconds

    def verify(self, seed: int) -> Checked:
        self.verified.append(seed)
        return Checked(100, self._wrong)


@pytest.mark.parametrize("blocks", [(10,), (1,) * 10, (3, 1, 6)])
def test_samples_turn_through_the_sets_however_they_are_asked_for(blocks):
    sets = PageSets([OnPages(1.0), OnPages(2.0), OnPages(3.0)], no_sign)
    taken = []
    for count in blocks:
        block = np.empty(count)
        sets.run(block, 1)
        taken += block.tolist()
    assert taken == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]


def test_every_set_is_verified_and_one_wrong_byte_in_any_is_seen():
    ones = [OnPages(1.0), OnPages(1.0, wrong=1), OnPages(1.0)]
    assert PageSets(ones, no_sign).verify(7) == Checked(300, 1)
    assert [one.verified for one in ones] == [[7]] * 3


def test_the_row_says_how_many_sets_there_were_even_where_it_was_one():
    assert PageSets([OnPages(1.0)], no_sign).params == {"of": "case", PAGE_SETS: 1}


@pytest.mark.parametrize(
    ("nbytes", "free", "sets"),
    [
        (GIB // 8, 16 * GIB, MOST_SETS),
        (GIB, 16 * GIB, MOST_SETS),
        (2 * GIB, 16 * GIB, 3),
        (5 * GIB, 16 * GIB, 1),
        (GIB, 4 * GIB, 2),
        (GIB, 0, 1),
        (GIB, None, 1),
    ],
)
def test_sets_beyond_the_first_take_a_quarter_of_the_free_memory_at_most(nbytes, free, sets):
    assert count_sets(nbytes, free) == sets


def test_what_a_cgroup_has_taken_is_not_free(tmp_path):
    group = tmp_path / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {16 * GIB // 1024} kB\n")
    assert read_free_memory(tmp_path) == 16 * GIB
    (group / "memory.max").write_text(f"{8 * GIB}\n")
    (group / "memory.current").write_text(f"{5 * GIB}\n")
    assert read_free_memory(tmp_path) == 3 * GIB


class Turned(NamedTuple):
    """What a rank ended with."""

    operation: Any
    prepared: int


def turn(
    nbytes: int,
    nodes: tuple[int, ...] = (0, 0),
    most: tuple[int, ...] = (9, 9),
    cache_bytes: int | None = None,
) -> list[Turned]:
    """Return what each rank of a job turns through, where it can hold so many sets more."""

    def of_rank(world: World) -> Turned:
        prepared = 0

        def prepare() -> OnPages:
            nonlocal prepared
            if prepared == most[world.rank]:
                raise MemoryError
            prepared += 1
            return OnPages(1.0)

        found = turn_page_sets(OnPages(1.0), nbytes, prepare, world, no_sign, cache_bytes)
        return Turned(found, prepared)

    return in_world(nodes, of_rank)


def in_world(nodes: tuple[int, ...], work: Any) -> list[Any]:
    meeting = Meeting(len(nodes))
    return meeting.all_do(lambda rank: work(World(meeting, rank, nodes)))


def test_large_messages_of_two_ranks_of_a_host_have_several_sets():
    assert [one.operation.params[PAGE_SETS] for one in turn(LEAST_BYTES)] == [MOST_SETS] * 2


def test_what_the_last_cache_holds_is_not_driven_out_of_it():
    # A ping-pong of 4 MiB between two ranks: 16 MiB in a cache of 32.
    for turned in turn(LEAST_BYTES, cache_bytes=2 * LEAST_BYTES + 1):
        assert turned.prepared == 0
    for turned in turn(LEAST_BYTES, cache_bytes=2 * LEAST_BYTES):
        assert turned.prepared == MOST_SETS - 1


def test_small_messages_and_those_between_hosts_keep_the_set_they_have():
    for turned in (turn(LEAST_BYTES - 1), turn(LEAST_BYTES, nodes=(0, 1))):
        assert all(isinstance(one.operation, OnPages) and one.prepared == 0 for one in turned)


@pytest.mark.parametrize("most", [(0, 9), (9, 0), (1, 2)])
def test_all_ranks_have_as_many_sets_as_the_one_with_the_least_memory(most):
    sets = [one.operation.params[PAGE_SETS] for one in turn(LEAST_BYTES, most=most)]
    assert sets == [1 + min(most)] * 2


def test_sampling_does_not_go_on_for_what_only_other_pages_would_show():
    sets = PageSets([OnPages(1e-3 * factor) for factor in (1.0, 1.1, 1.3, 1.6)], no_sign)
    rule = Sampling(cap_s=1000.0, warmup_s=0.05, warmup_cap_s=2.0)

    def sampled(reported: Any) -> Sampled:
        moment = 0.0

        def run(seconds: Seconds, loops: int) -> None:
            nonlocal moment
            sets.run(seconds, loops)
            moment += float(seconds.sum()) * loops

        return sample(run, lambda value: value, rule, 0.01, lambda: moment, reported)

    assert not sampled(lambda seconds: seconds).converged
    level = sampled(lambda seconds: level_clusters(seconds, 4))
    assert level.converged
    assert len(level.seconds) == 30
