"""Collective calls: exact answers on every rank, faults seen on each, and busbw with its factor."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Loops, Meeting, Rank
from simulated_cuda import simulate
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, ComparesRanks, Context
from bench.core.records import Axis, Case, Row, Status, Work, parse_params
from bench.core.schedule import Code
from bench.measure import MEASUREMENTS
from bench.measure.axes import DTYPES
from bench.measure.blocks import KINDS, MOST_SUMMED_RANKS, Blocks, CollectiveKind
from bench.measure.collectives import CALLS
from bench.measure.rates import busbw_gbytes_per_s, gbytes_per_s
from bench.plan.plan import expand
from bench.plan.suite import Block, load_suite
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

Numbers = np.ndarray[Any, np.dtype[Any]]
Spoil = Callable[[Code, int, Numbers], None]
MOVING = [kind.name for kind in KINDS if kind.moves]
REDUCING = [kind.name for kind in KINDS if kind.reduces]
JOINING = [kind.name for kind in KINDS if kind.joined]
KIND = {kind.name: kind for kind in KINDS}
ROOTED = [kind.name for kind in KINDS if kind.rooted]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def coll_case(name: str, ranks: int = 3, **axes: Axis) -> Case:
    moving = {} if name == "barrier" else {"bytes": 4096}
    return make_case(name, ranks=ranks, **{**moving, **axes})


def verify(case: Case, context: Context, meeting: Meeting, seed: int = 1) -> list[Checked]:
    """Verify a case on all ranks at once; return what each of them found."""
    operations = meeting.prepare(MEASUREMENTS[case.benchmark], case, context)
    return meeting.all_do(lambda rank: operations[rank].verify(seed))


def gets(name: str, ranks: int, root: int = 0) -> list[int]:
    """Return how many blocks each rank gets in one call."""
    each = ranks if name in JOINING else 1
    return [each if name != "gather" or rank == root else 0 for rank in range(ranks)]


# What an operation accomplishes.

FACTORS = {
    # On 2, 3 and 4 ranks, as nccl-tests 2.17 gives them (PERFORMANCE.md).
    "allreduce": (1.0, 4 / 3, 1.5),
    "reduce_scatter": (0.5, 2 / 3, 0.75),
    "allgather": (0.5, 2 / 3, 0.75),
    "alltoall": (0.5, 2 / 3, 0.75),
    "broadcast": (1.0, 1.0, 1.0),
    "scatter": (0.5, 2 / 3, 0.75),
    "gather": (0.5, 2 / 3, 0.75),
}


def test_bus_factors_are_those_of_the_bytes_that_a_link_must_carry() -> None:
    assert FACTORS.keys() == set(MOVING)
    for name, factors in FACTORS.items():
        assert [KIND[name].bus_factor(ranks) for ranks in (2, 3, 4)] == pytest.approx(factors)


TOTALS = {
    # Blocks of all ranks, in blocks of one, on 4 ranks.
    "allreduce": 1,
    "reduce_scatter": 4,
    "allgather": 4,
    "alltoall": 4,
    "broadcast": 1,
    "scatter": 4,
    "gather": 4,
}


@pytest.mark.parametrize("name", MOVING)
def test_a_block_of_1_mb_on_4_ranks_in_1_ms(name: str) -> None:
    total, factor = TOTALS[name], FACTORS[name][2]
    work = MEASUREMENTS[name].work(coll_case(name, 4, bytes=1_000_000))
    assert work == Work(
        bytes=1_000_000,
        bytes_per_rank=1_000_000,
        bytes_total=total * 1_000_000,
        rate_bytes=total * 1_000_000,
        bus_bytes=pytest.approx(factor * total * 1_000_000),
    )
    assert gbytes_per_s(work, 1e-3) == pytest.approx(total)
    assert busbw_gbytes_per_s(work, 1e-3) == pytest.approx(total * factor)


@pytest.mark.parametrize("name", REDUCING)
@pytest.mark.parametrize(("dtype", "nbytes"), [("fp32", 20), ("fp64", 16)])
def test_only_whole_numbers_are_sent_and_counted(dtype: str, nbytes: int, name: str) -> None:
    assert MEASUREMENTS[name].work(coll_case(name, bytes=23, dtype=dtype)).bytes == nbytes


@pytest.mark.parametrize("name", MEASUREMENTS.keys() & {kind.name for kind in KINDS})
def test_they_need_mpi_and_memory_that_is_here(name: str, context: Context) -> None:
    measurement = MEASUREMENTS[name]
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    assert "needs MPI" in (measurement.unsupported(coll_case(name), context) or "")
    assert measurement.unsupported(coll_case(name), here) is None
    assert measurement.columns(coll_case(name)) == {"algorithm": "library"}
    if name != "barrier":
        no_gpu = measurement.unsupported(coll_case(name, memory="device"), here)
        assert "device" in (no_gpu or "")


def test_what_a_c_int_cannot_count_is_skipped_with_the_reason(context: Context) -> None:
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    gigabyte = {"bytes": 2**30}

    def reason(name: str, ranks: int, **axes: Axis) -> str | None:
        return MEASUREMENTS[name].unsupported(coll_case(name, ranks, **gigabyte, **axes), here)

    assert reason("allgather", 2) is not None
    assert "C int" in (reason("alltoall", 3) or "")
    assert reason("broadcast", 64) is None
    # Four bytes an element, and so four times as many of them.
    assert reason("reduce_scatter", 7) is None
    assert reason("reduce_scatter", 8) is not None


def test_two_modes_and_two_roots_are_two_cases_and_defaults_are_not_named() -> None:
    axes = {axis.name: axis.default for axis in MEASUREMENTS["gather"].axes}
    both: dict[str, tuple[Axis, ...]] = {
        "mode": ("latency", "throughput"),
        "root": ("fixed", "rotating"),
    }
    assert [
        case.id for case in expand(Block("gather", dict(sorted({**axes, **both}.items()))))
    ] == [
        "gather/bytes=1048576",
        "gather/bytes=1048576/root=rotating",
        "gather/bytes=1048576/mode=throughput",
        "gather/bytes=1048576/mode=throughput/root=rotating",
    ]


def test_sums_over_all_ranks_have_the_ids_that_they_always_had() -> None:
    axes = {axis.name: axis.default for axis in MEASUREMENTS["allreduce"].axes}
    cases = list(expand(Block("allreduce", dict(sorted({**axes, "ranks": (2, 5)}.items())))))
    assert [case.id for case in cases] == [
        "allreduce/bytes=1048576",
        "allreduce/bytes=1048576/ranks=5",
    ]


# What the ranks call.


def calls_of(
    name: str, context: Context, rank: int = 1, ranks: int = 3, **axes: Axis
) -> list[Code]:
    """Return the steps that a rank times, its barrier of messages left out."""
    noted: list[list[Code]] = []

    class Noting(Loops):
        def follow(self, _seconds: Any, _loops: int, steps: Any, *_rest: Any) -> None:
            noted.append([Code(int(code)) for code in steps.table[:, 0]])

    here = msgspec.structs.replace(
        context,
        communicator=Rank(1, 3),
        message_loops=Noting(Meeting(3), 1),
    )
    MEASUREMENTS[name].prepare(coll_case(name, **axes), here).run(np.empty(1), 1)
    meeting = (Code.ISEND, Code.IRECV, Code.WAITALL)
    return [code for code in noted[0] if code not in meeting]


def test_latency_is_one_call_between_two_looks_at_the_clock(context: Context) -> None:
    once = [Code.BEGIN, Code.ALLTOALL, Code.END]
    assert calls_of("alltoall", context) == once
    assert calls_of("barrier", context) == [Code.BEGIN, Code.BARRIER, Code.END]
    # Each rank is the root of one call, and none follows another without a barrier.
    rotating = calls_of("scatter", context, root="rotating")
    assert rotating == [Code.BEGIN, Code.SCATTER, Code.END] * 3


def test_throughput_is_calls_back_to_back(context: Context) -> None:
    codes = calls_of("allgather", context, mode="throughput")
    assert codes == [Code.BEGIN, *[Code.ALLGATHER] * CALLS, Code.END]
    # Every rank is the root equally often.
    codes = calls_of("gather", context, mode="throughput", root="rotating")
    assert codes == [Code.BEGIN, *[Code.GATHER] * 18, Code.END]


@pytest.mark.parametrize("axes", [{"mode": "throughput"}, {"root": "rotating"}])
def test_a_time_is_that_of_one_call(axes: dict[str, Axis], context: Context) -> None:
    meeting = Meeting(4)
    operations = meeting.prepare(MEASUREMENTS["scatter"], coll_case("scatter", 4, **axes), context)
    seconds = [np.empty(2) for _ in range(4)]
    meeting.all_do(lambda rank: operations[rank].run(seconds[rank], 1))
    # The loops of the meeting say that every pass takes a microsecond.
    calls = 16 if axes.get("mode") else 4
    np.testing.assert_allclose(seconds, 1e-6 / calls)


def test_the_row_tells_which_metric_it_is_and_of_how_many_calls(context: Context) -> None:
    def params(name: str, **axes: Axis) -> dict[str, Axis]:
        meeting = Meeting(3)
        case = coll_case(name, **axes)
        return dict(meeting.prepare(MEASUREMENTS[name], case, context)[0].params)

    assert params("allreduce") == {"metric": "coll_latency", "busbw_factor": 1.3333}
    assert params("barrier") == {"metric": "coll_latency"}
    assert params("gather", mode="throughput", root="rotating") == {
        "metric": "coll_throughput",
        "calls": 18,
        "busbw_factor": 0.6667,
    }


def test_how_far_apart_ranks_end_is_told_of_single_calls_of_one_root() -> None:
    def told(name: str, **axes: Axis) -> dict[str, Axis]:
        measurement, case = MEASUREMENTS[name], coll_case(name, 3, **axes)
        assert isinstance(measurement, ComparesRanks)
        assert list(measurement.timekeepers(case)) == [0, 1, 2]
        samples = {0: np.array([1e-6, 2e-6, 9e-6]), 1: np.full(3, 2e-6), 2: np.full(3, 4e-6)}
        return measurement.compare_ranks(case, samples)

    assert told("broadcast") == {"exit_skew_s": 3e-6}
    assert told("barrier") == {"exit_skew_s": 3e-6}
    assert told("broadcast", root="rotating") == {}
    assert told("allreduce", mode="throughput") == {}


# Whether a wrong answer is seen.


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_right_answers_are_right_to_the_last_byte(name: str, ranks: int, context: Context) -> None:
    for nbytes in (8, 4096, 100_000):
        for seed in (1, 2):
            found = verify(coll_case(name, ranks, bytes=nbytes), context, Meeting(ranks), seed)
            assert found == [Checked(blocks * nbytes, 0) for blocks in gets(name, ranks)]


@pytest.mark.parametrize("name", REDUCING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_right_sums_are_right_in_whichever_order_they_were_added(
    name: str, dtype: str, context: Context
) -> None:
    found = verify(coll_case(name, 5, bytes=100_000, dtype=dtype), context, Meeting(5))
    assert found == [Checked(100_000, 0)] * 5


@pytest.mark.parametrize("name", ROOTED)
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_where_roots_rotate_a_fault_under_each_of_them_is_seen(
    name: str, bad: int, context: Context
) -> None:
    victim = bad if name == "gather" else (bad + 1) % 3

    def spoil(_code: Code, rank: int, elements: Numbers) -> None:
        root = rank
        if name != "gather":
            root = next(other for other in range(3) if meeting.given[other].size)
        if (root, rank) == (bad, victim):
            elements[-1] ^= 1

    meeting = Meeting(3, spoil)
    found = verify(coll_case(name, root="rotating"), context, meeting)
    blocks = [sum(gets(name, 3, root)[rank] for root in range(3)) for rank in range(3)]
    assert found == [Checked(4096 * blocks[rank], int(rank == victim)) for rank in range(3)]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("place", [0, 511, -1])
def test_one_wrong_element_on_one_rank_is_seen_there_alone(
    name: str, place: int, context: Context
) -> None:
    bad = 0 if name == "gather" else 1

    def spoil(_code: Code, rank: int, elements: Numbers) -> None:
        if rank == bad:
            elements[place] += 1

    size = 4 if name in REDUCING else 1
    found = verify(coll_case(name), context, Meeting(3, spoil))
    assert [checked.bytes_wrong for checked in found] == [size * (rank == bad) for rank in range(3)]


@pytest.mark.parametrize("name", [name for name in MOVING if name != "broadcast"])
def test_what_never_arrives_is_wrong_in_every_byte(name: str, context: Context) -> None:
    class Nothing(Loops):
        def follow(self, *arguments: Any) -> None:
            pass

    here = msgspec.structs.replace(
        context, communicator=Rank(0, 2), message_loops=Nothing(Meeting(2), 0)
    )
    operation = MEASUREMENTS[name].prepare(coll_case(name, 2), here)
    for seed in (1, 2):
        checked = operation.verify(seed)
        assert checked.bytes_wrong == checked.bytes_checked > 0


def test_a_broadcast_that_never_arrives_is_wrong_in_every_byte_but_the_roots(
    context: Context,
) -> None:
    class Nothing(Loops):
        def follow(self, *arguments: Any) -> None:
            pass

    for rank in (0, 1):
        here = msgspec.structs.replace(
            context, communicator=Rank(rank, 2), message_loops=Nothing(Meeting(2), rank)
        )
        operation = MEASUREMENTS["broadcast"].prepare(coll_case("broadcast", 2), here)
        assert operation.verify(1) == Checked(4096, 4096 * rank)


def terms(meeting: Meeting, name: str, rank: int, source: int) -> Numbers:
    """Return what a rank added to the numbers that another one receives."""
    given = meeting.given[source]
    return given.reshape(3, -1)[rank] if name == "reduce_scatter" else given


@pytest.mark.parametrize("name", REDUCING)
@pytest.mark.parametrize("twice", [True, False])
def test_a_rank_left_out_or_counted_twice_is_seen_everywhere(
    twice: bool, name: str, context: Context
) -> None:
    meeting = Meeting(3)

    def spoil(_code: Code, rank: int, numbers: Numbers) -> None:
        numbers += (1 if twice else -1) * terms(meeting, name, rank, 1)

    meeting.spoil = spoil
    assert verify(coll_case(name), context, meeting) == [Checked(4096, 4096)] * 3


@pytest.mark.parametrize("name", REDUCING)
def test_one_rank_in_the_place_of_another_is_seen_everywhere(name: str, context: Context) -> None:
    meeting = Meeting(3)

    def spoil(_code: Code, rank: int, numbers: Numbers) -> None:
        numbers += terms(meeting, name, rank, 1) - terms(meeting, name, rank, 2)

    meeting.spoil = spoil
    assert verify(coll_case(name), context, meeting) == [Checked(4096, 4096)] * 3


def test_segments_in_each_others_places_are_seen(context: Context) -> None:
    def spoil(_code: Code, _rank: int, numbers: Numbers) -> None:
        numbers[:] = np.roll(numbers, 256)

    for checked in verify(coll_case("allreduce"), context, Meeting(3, spoil)):
        assert checked.bytes_wrong > 0.98 * checked.bytes_checked


@pytest.mark.parametrize("nbytes", [1, 2, 7, 4096])
@pytest.mark.parametrize("name", JOINING)
def test_blocks_in_each_others_places_are_seen(name: str, nbytes: int, context: Context) -> None:
    def spoil(_code: Code, _rank: int, elements: Numbers) -> None:
        elements[:] = np.roll(elements.reshape(3, -1), 1, axis=0).reshape(-1)

    found = verify(coll_case(name, bytes=nbytes), context, Meeting(3, spoil))
    wrong = sum(checked.bytes_wrong for checked in found)
    checked_bytes = sum(checked.bytes_checked for checked in found)
    # Of many bytes one in 256 is right by chance, of a block's first one none.
    assert wrong >= (0.98 if nbytes > 7 else 0.5) * checked_bytes > 0


@pytest.mark.parametrize("name", ["reduce_scatter", "alltoall", "scatter"])
@pytest.mark.parametrize("elements", [1, 1021, 1024])
def test_the_block_of_another_rank_is_seen(name: str, elements: int, context: Context) -> None:
    """Also where a block is exactly as long as the numbers take to repeat."""
    kind = next(kind for kind in KINDS if kind.name == name)
    dtype = np.float32 if kind.reduces else None
    nbytes = elements * (4 if kind.reduces else 1)

    def wanted(rank: int) -> Numbers:
        return np.concatenate([*Blocks(kind, rank, 5, nbytes, dtype).wanted(0, 1)])

    for rank in range(1, 5):
        assert np.count_nonzero(wanted(0) != wanted(rank)) >= 0.98 * elements


@pytest.mark.parametrize("name", ["alltoall", "allgather"])
def test_a_rank_left_out_is_seen_by_all(name: str, context: Context) -> None:
    """Its block keeps what was there before."""

    def spoil(_code: Code, _rank: int, elements: Numbers) -> None:
        elements.reshape(3, -1)[1] = before

    before = np.zeros(4096, np.uint8)
    for checked in verify(coll_case(name), context, Meeting(3, spoil)):
        assert 0.98 * 4096 < checked.bytes_wrong <= 4096


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.joined], ids=lambda k: k.name)
def test_no_two_ranks_give_the_same_single_byte(kind: CollectiveKind) -> None:
    wanted = np.concatenate([*Blocks(kind, 0, 16, 1).wanted(0, 1)])
    assert len(set(wanted.tolist())) == 16


@pytest.mark.parametrize("name", ["alltoall", "allgather", "allreduce"])
def test_verification_needs_no_more_memory_for_larger_buffers_and_shows_that_it_goes_on(
    name: str, context: Context
) -> None:
    class Nothing(Loops):
        def follow(self, *arguments: Any) -> None:
            pass

    def peak_bytes(nbytes: int) -> int:
        signs = []
        here = msgspec.structs.replace(
            context,
            communicator=Rank(0, 2),
            message_loops=Nothing(Meeting(2), 0),
            alive=lambda: signs.append(1),
        )
        operation = MEASUREMENTS[name].prepare(coll_case(name, 2, bytes=nbytes), here)
        tracemalloc.start()
        operation.verify(1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Given, and made and compared what must arrive: at least one part for each 8 MiB.
        assert len(signs) >= 3 * nbytes // 2**23
        return peak

    assert peak_bytes(2**26) < 1.2 * peak_bytes(2**24)


@pytest.mark.parametrize("memory", ["host", "standin", "pinned", "device"])
def test_a_part_of_a_buffer_is_its_bytes(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, gpus=1)
    buffer = open_context(SoloWorld(), 1).memories[memory].allocate(1000)
    buffer.fill(1)
    whole = buffer.read().copy()
    part = buffer.part(100, 50)
    assert (part.address, part.nbytes) == (buffer.address + 100, 50)
    assert np.array_equal(part.read(), whole[100:150])
    part.write(np.zeros(50, np.uint8))
    whole[100:150] = 0
    assert np.array_equal(buffer.read(), whole)


def test_the_largest_sums_are_exact_in_single_precision() -> None:
    """The largest term, on the most ranks that a case may have."""
    for name in REDUCING:
        most = next(axis.most for axis in MEASUREMENTS[name].axes if axis.name == "ranks")
        assert most == MOST_SUMMED_RANKS
    assert MOST_SUMMED_RANKS * (1020 + 61) < 2**24


@pytest.mark.parametrize("name", ["scatter", "gather"])
def test_only_a_rank_that_is_root_has_room_for_all_blocks(name: str, context: Context) -> None:
    sizes: list[int] = []
    host = context.memories["host"]

    class Counting:
        name = "host"
        copies = None

        def allocate(self, nbytes: int) -> Any:
            sizes.append(nbytes)
            return host.allocate(nbytes)

    here = msgspec.structs.replace(
        context,
        memories={"host": Counting()},
        communicator=Rank(1, 4),
        message_loops=Loops(Meeting(4), 1),
    )
    MEASUREMENTS[name].prepare(coll_case(name, 4), here)
    assert sorted(sizes) == [1, 4096]
    sizes.clear()
    MEASUREMENTS[name].prepare(coll_case(name, 4, root="rotating"), here)
    assert sorted(sizes) == [4096, 4 * 4096]


# For real.

TABLE = """
[[benchmark]]
name = "{name}"
mode = ["latency", "throughput"]
ranks = {ranks}
{more}
"""


def suite(names: list[str], ranks: str = "[2, 3, 4]", sizes: str = '["8 B", "10 kB"]') -> str:
    tables = ['[suite]\nname = "calls"\ncap_s = 0.01\n']
    for name in names:
        more = [f"bytes = {sizes}"] if name != "barrier" else []
        more += ['root = ["fixed", "rotating"]'] if name in ROOTED else []
        tables.append(TABLE.format(name=name, ranks=ranks, more="\n".join(more)))
    return "".join(tables)


def check_row(row: Row) -> None:
    params = parse_params(row.params)
    ranks, rotating = row.ranks or 0, params.get("root") == "rotating"
    assert (row.status, row.bytes_wrong, row.rank_agg) == (Status.OK, 0, "max"), row
    assert row.slowest_rank in range(ranks)
    assert params["metric"] == f"coll_{params['mode']}"
    assert (row.algorithm, params["library"]) == ("library", "mpi")
    assert ("exit_skew_s" in params) is (params["mode"] == "latency" and not rotating)
    assert 0 <= float(params.get("exit_skew_s", 0)) <= (row.t_max_s or 0)
    if row.benchmark == "barrier":
        assert row.bytes is row.gbytes_per_s is row.busbw_gbytes_per_s is None
        return
    size = row.bytes or 0
    blocks = sum(gets(row.benchmark, ranks)) * (ranks if rotating else 1)
    # Before and after sampling.
    assert row.bytes_checked == 2 * blocks * size
    work = MEASUREMENTS[row.benchmark].work(coll_case(row.benchmark, ranks, bytes=size))
    assert (row.bytes_per_rank, row.bytes_total) == (size, work.bytes_total)
    factor = float(params["busbw_factor"])
    assert factor == pytest.approx(KIND[row.benchmark].bus_factor(ranks), abs=1e-4)
    assert row.busbw_gbytes_per_s == pytest.approx(factor * (row.gbytes_per_s or 0), rel=1e-3)


@pytest.mark.slow
@pytest.mark.mpi
def test_all_calls_on_2_3_and_4_ranks_are_measured_and_right(tmp_path: Any) -> None:
    done = run(tmp_path, suite=suite([kind.name for kind in KINDS], sizes='"1 kB"'))
    rows = by_case(done)
    assert len(rows) == 3 * 2 * (4 + 2 * 3 + 1)
    for row in rows.values():
        check_row(row)
        assert row.timing_layer == "numba"
    samples = {(s.case, s.rank) for s in done.samples()}
    assert ("gather/bytes=1000/ranks=4/root=rotating", 3) in samples
    assert ("barrier/ranks=3", 2) in samples


@pytest.mark.slow
@pytest.mark.mpi
def test_without_numba_they_are_right_too(tmp_path: Any, monkeypatch: Any) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "numba.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    names = [kind.name for kind in KINDS]
    rows = by_case(run(tmp_path, suite=suite(names, "[2, 3]", '"8 B"')))
    assert len(rows) == 2 * 2 * (4 + 2 * 3 + 1)
    for row in rows.values():
        check_row(row)
        assert row.timing_layer == "mpi4py"


def test_the_suite_holds_every_collective_call_in_both_modes() -> None:
    held: dict[str, set[Axis]] = {}
    for block in load_suite("collectives").blocks:
        held.setdefault(block.benchmark, set()).update(block.axes["mode"])
        assert block.axes["ranks"] == (2,)
    assert held == {kind.name: {"latency", "throughput"} for kind in KINDS}
