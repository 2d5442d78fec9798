"""What hosts reach at most: loops against each other, and bounds from known ceilings by hand."""

import math
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import Meeting, World
from synthetic import write_run
from test_bounds import CPU, ONE, TOLD, TWO, make_case, row_of
from test_report import bounded

from bench.core.ceilings import HostCeilings, Pass, best_by_host, best_of, pass_rate
from bench.core.events import Ceilings
from bench.core.units import format_rate
from bench.judge.findings import BEATS_BOUND, BEATS_CEILING, row_findings
from bench.judge.score import score
from bench.judge.statistics import summarise
from bench.judge.table import load
from bench.machine.cpu import Design, read_cpu
from bench.machine.facts import NodeFacts, gather_facts
from bench.machine.host import HostFacts
from bench.measure import MEASUREMENTS
from bench.predict.bounds import add_bound, bound_again
from bench.predict.bounds.bound import CEILING, NONE, Seats
from bench.predict.bounds.hardware import Hardware
from bench.predict.bounds.rules import find_bound
from bench.predict.model.datasheet.cores import flop_per_cycle, units_of
from bench.rank.ceilings import (
    FOOTPRINTS,
    CeilingProbe,
    Lines,
    _open_arrays,
    find_passes,
    has_risen,
)
from bench.rank.context import open_context
from bench.rank.memory.host import HostMemory
from bench.rank.timing.layers import open_ceiling_loops, open_memory_loops
from bench.rank.world import SoloWorld
from bench.report import build
from bench.store.files import JOURNAL_FILE

VIRTUAL = NodeFacts(cpu=CPU, system=HostFacts(hypervisor="KVM"))
REACHED = HostCeilings(
    clock_hz=3e9,
    flop_per_s={"fp64": 48e9, "fp32": 96e9},
    passes=(
        Pass(1, 1, 3072, 200e9),
        Pass(1, 1, 12288, 100e9),
        Pass(1, 1, 49152, 120e9),
        Pass(1, 1, 3145728, 20e9),
        Pass(1, 2, 3145728, 30e9),
        Pass(2, 1, 12288, 150e9),
    ),
    line_s=50e-9,
)
LAPTOP = Hardware({"h1": VIRTUAL}, None, {"h1": REACHED})
ALONE = Seats(("h1",), {"h1": 4}, 1)


# Loops.


def test_a_core_computes_no_more_in_a_cycle_than_its_units_can():
    """FLOP/s over the clock is at most what the extensions do in a cycle; fp32 is twice fp64."""
    loops = open_ceiling_loops()
    assert loops is not None
    units = units_of(gather_facts().cpu.simd)
    best: dict[str, float] = {}
    clock_hz = 0.0
    for _ in range(5):
        clock_hz = max(clock_hz, loops.clock_hz(20))
        for dtype, rate in loops.flop_per_s(20).items():
            best[dtype] = max(best.get(dtype, 0.0), rate)
    assert clock_hz > 0
    if not best or units is None:
        return  # of a processor whose vectors are of no known length nothing is said
    assert best["fp32"] == pytest.approx(2 * best["fp64"], rel=0.2)
    assert 1 < best["fp64"] / clock_hz < 1.2 * units.fp64


def test_data_that_fits_into_a_nearer_cache_is_not_slower():
    loops = open_memory_loops()
    memory = HostMemory()
    arrays = tuple(memory.allocate(FOOTPRINTS[-1] // 2).read().view("f8") for _ in range(3))
    passes: tuple[Pass, ...] = ()
    for turn in range(3):
        new = HostCeilings(passes=find_passes(loops, arrays, FOOTPRINTS, turn))
        passes = best_of(HostCeilings(passes=passes), new).passes
    for reads in (1, 2):
        rates = {one.bytes: one.rate for one in passes if one.reads == reads}
        assert sorted(rates) == list(FOOTPRINTS)
        assert rates[FOOTPRINTS[0]] > 0.7 * rates[FOOTPRINTS[4]] > 0.5 * rates[FOOTPRINTS[-1]]


def test_a_line_passes_between_two_threads_that_share_a_page():
    lines = Lines(mmap.mmap(-1, mmap.PAGESIZE))
    ready = threading.Barrier(2)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two cores")

    def meet(rank: int) -> list[float | None]:
        # A thread that is woken is put where the one is that woke it.
        os.sched_setaffinity(0, {cpus[rank]})
        loops = open_ceiling_loops()
        assert loops is not None
        told = []
        for _ in range(20):
            ready.wait(60)
            told.append(loops.line_s(*lines.addresses(rank), leads=rank == 0))
        return told

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(meet, range(2))
    mine, others = lines.addresses(0)
    assert abs(mine - others) >= 64
    # Where another process has a core, one gives up; the one that came first has also waited.
    both = [pair for pair in zip(first, second, strict=True) if None not in pair]
    assert both
    assert all(min(pair) > 0 for pair in both)


def test_nobody_waits_for_a_rank_that_never_answers():
    loops = open_ceiling_loops()
    assert loops is not None
    lines = Lines(mmap.mmap(-1, mmap.PAGESIZE))
    assert loops.line_s(*lines.addresses(0), leads=True) is None


def test_a_job_of_one_rank_learns_its_host_and_is_told_again_only_where_something_rose():
    context = open_context(SoloWorld(), 1, host="h1")
    probe = CeilingProbe(SoloWorld(), context)
    told = probe.measure(1)
    assert told is not None
    (host,) = told.hosts
    assert host == "h1"
    reached = told.hosts["h1"]
    assert reached.clock_hz
    assert reached.line_s is None
    assert {one.ranks for one in reached.passes} == {1}
    again = [probe.refresh(make_case("matmul")) for _ in range(4)]
    assert probe.known["h1"].clock_hz >= reached.clock_hz
    assert all(one is None or has_risen({"h1": reached}, one.hosts) for one in again)


def test_ranks_of_a_host_are_tried_at_once_and_hosts_keep_their_own():
    """Three ranks in a meeting: two on one host, one on another."""
    nodes, names = (0, 0, 1), ("a", "a", "b")
    meeting = Meeting(3)
    context = open_context(SoloWorld(), 1)
    told: dict[int, Ceilings | None] = {}

    def run(rank: int) -> None:
        own = SimpleNamespace(memory_loops=context.memory_loops, host=names[rank], own_cores=True)
        told[rank] = CeilingProbe(World(meeting, rank, nodes), own).measure(1)  # type: ignore

    with ThreadPoolExecutor(3) as pool:
        [*pool.map(run, range(3))]
    assert told[0] == told[1] == told[2]
    assert told[0] is not None
    assert {*told[0].hosts} == {"a", "b"}
    assert {one.ranks for one in told[0].hosts["a"].passes} == {1, 2}
    assert {one.ranks for one in told[0].hosts["b"].passes} == {1}


@pytest.mark.parametrize("ranks", [3, 5, 7, 72])
def test_the_share_of_any_number_of_ranks_is_whole_numbers(ranks):
    nbytes = FOOTPRINTS[-1] // ranks
    for array in _open_arrays(nbytes):
        assert array.nbytes >= nbytes // 2
        assert array.nbytes % mmap.PAGESIZE == 0


# The best of all moments.

rates = st.floats(1e6, 1e12)
some_passes = st.lists(
    st.builds(Pass, st.sampled_from([1, 2]), st.sampled_from([1, 2]),
              st.sampled_from(FOOTPRINTS), rates)
)  # fmt: skip
hosts = st.builds(
    HostCeilings,
    clock_hz=st.none() | rates,
    flop_per_s=st.dictionaries(st.sampled_from(["fp32", "fp64"]), rates),
    passes=some_passes.map(tuple),
    line_s=st.none() | st.floats(1e-9, 1e-6),
)


@given(hosts, hosts)
def test_the_best_of_two_moments_is_neither_below_one_of_them_nor_above_both(one, two):
    best = best_of(one, two)
    assert best == best_of(two, one)
    assert best_of(best, one) == best_of(best, best)
    for dtype, rate in best.flop_per_s.items():
        assert rate == max(one.flop_per_s.get(dtype, 0), two.flop_per_s.get(dtype, 0))
    assert not has_risen({"h": best}, best_by_host({"h": best}, {"h": one}))


@given(some_passes, st.integers(1, 2**28), st.integers(1, 2**28))
def test_more_data_is_never_passed_over_in_less_time(passes, size, more):
    small, large = (pass_rate(passes, 1, 1, each) for each in (size, size + more))
    assert (small is None) == (large is None)
    if small is not None and large is not None:
        assert large.rate <= small.rate


# Bounds by hand.


@pytest.mark.parametrize(
    ("case", "seats", "seconds", "formula"),
    [
        # One core of 48 GFLOP/s; two threads have two.
        (make_case("matmul", batch=12, k=1000, n=1000, dtype="fp64"), ALONE, 24e6 / 48e9, "FLOP"),
        (make_case("matmul", batch=12, k=1000, n=1000, dtype="fp32"),
         ALONE._replace(threads=2), 24e6 / 192e9, "2 cores x 96.0 GFLOP/s"),
        # 12 KiB of data by what is at least as large: 120 GB/s over 48 KiB.
        (make_case("memcpy", bytes=8192), ALONE, 2 * 8192 / 120e9, "120 GB/s over 48 KiB"),
        (make_case("memcpy", bytes=100), ALONE, 200 / 200e9, "200 GB/s over 3 KiB"),
        (make_case("memcpy", bytes=2**28), ALONE, 2**29 / 20e9, "20.0 GB/s over 3 MiB"),
        # Two ranks at once share what both reached together.
        (make_case("memcpy", bytes=2**28, ranks=2), ONE, 2 * 2**29 / 30e9, "of 2 ranks at once"),
        (make_case("stream", bytes=8192, kernel="triad"), ALONE, 24576 / 150e9, "a sum of two"),
        (make_case("stream", bytes=8192, kernel="copy"), ALONE, 16384 / 120e9, "rate of a copy"),
        # A line has to pass once; of large messages each byte is read and written once.
        (make_case("latency", bytes=8), ONE, 50e-9, "a cache line from core to core"),
        (make_case("latency", bytes=2**22), ONE, 2**23 / 20e9, "bytes read and written"),
        # A pair inside one host of several.
        (make_case("pairs_latency", bytes=2**22, src_rank=0, dst_rank=1),
         Seats(("h1", "h1", "h2")), 2**23 / 20e9, "bytes read and written"),
        # There and back for a window of 64.
        (make_case("message_rate", bytes=8, window=64), ONE, 100e-9 / 64, "a cache line"),
        (make_case("bandwidth", bytes=2**20, window=64), ONE, 2**21 / 20e9, "bytes read"),
        # Of one buffer for all of them: 64 KiB.
        (make_case("bandwidth", bytes=2**16, window=64, buffers="shared"), ONE, 2**17 / 120e9,
         "120 GB/s over 48 KiB"),
        (make_case("bibandwidth", bytes=2**20, window=64), ONE, 2**21 / 20e9, "bytes read"),
        (make_case("barrier"), ONE, 50e-9, "a cache line"),
        (make_case("allreduce", bytes=2**23), ONE, 2**24 / 20e9, "bytes read and written"),
        # Half of it is written by each of two ranks.
        (make_case("broadcast", bytes=2**23), ONE, 2**23 / 20e9, "bytes read and written"),
        (make_case("exchange", bytes=2**23), ONE, 2**24 / 20e9, "bytes read and written"),
        (make_case("multi_pair", bytes=2**22, pairs=1), ONE, 2**22 / 20e9, "bytes read"),
    ],
)  # fmt: skip
def test_a_ceiling_bounds_what_stays_inside_a_host(case, seats, seconds, formula):
    bound = find_bound(case, seats, LAPTOP)
    assert bound.source.startswith(CEILING)
    assert formula in bound.source
    assert bound.seconds == pytest.approx(seconds)


@given(st.floats(1e9, 6e9), st.integers(1, 8), st.sampled_from(["fp32", "fp64"]))
def test_the_peak_of_a_known_design_is_clock_times_lanes_times_units_times_cores(hz, cores, dtype):
    cpu = msgspec.structs.replace(CPU, design=Design("AuthenticAMD", 0x17, 0x31))
    host = NodeFacts(cpu=cpu, system=HostFacts(hypervisor="KVM"))
    known = Hardware({"h1": host}, None, {"h1": HostCeilings(clock_hz=hz)})
    case = make_case("matmul", batch=10, k=100, n=100, dtype=dtype)
    bound = find_bound(case, Seats(("h1",), {"h1": cores}, cores), known)
    each = {"fp64": 2 * 2 * 4, "fp32": 2 * 2 * 8}[dtype]
    assert bound.seconds == pytest.approx(2e5 / (cores * each * hz))
    assert f"{each} FLOP per cycle of 2 multiply-add units of 256 bits" in bound.source
    assert format_rate(hz, "Hz") in bound.source


def test_facts_of_the_hardware_come_before_what_was_reached():
    known = NodeFacts(cpu=CPU)
    case = make_case("matmul", batch=10, k=100, n=100)
    bound = find_bound(case, ALONE, Hardware({"h1": known}, None, {"h1": REACHED}))
    assert not bound.source.startswith(CEILING)
    assert bound.seconds == pytest.approx(2e5 / (32 * 3e9))


@pytest.mark.parametrize(
    ("case", "seats", "reached", "why"),
    [
        (make_case("latency"), TWO, REACHED, "no network port"),
        (make_case("latency"), TWO, REACHED, "between hosts are not measured"),
        (make_case("latency"), ONE, HostCeilings(), "no cache line was passed between two cores"),
        (make_case("memcpy"), ALONE, HostCeilings(), "memory was not tried"),
        (make_case("matmul"), ALONE, HostCeilings(clock_hz=3e9), "computes in a cycle"),
        (make_case("barrier"), ONE, HostCeilings(), "no cache line"),
        (make_case("latency", memory="device"), ONE, REACHED, "not measured"),
        (make_case("verbs"), ONE, REACHED, "RDMA device"),
        (make_case("allreduce"), TWO, REACHED, "between hosts are not measured"),
    ],
)
def test_without_a_ceiling_the_reason_says_what_is_missing(case, seats, reached, why):
    hosts = dict.fromkeys(("h1", "h2"), VIRTUAL)
    bound = find_bound(case, seats, Hardware(hosts, None, dict.fromkeys(hosts, reached)))
    assert bound.seconds is None
    assert bound.source.startswith(NONE)
    assert why in bound.source


def test_a_host_that_was_not_tried_has_no_ceiling_of_another():
    known = Hardware({"h1": VIRTUAL}, None, {"h2": REACHED})
    assert "no ceiling was measured on its host" in find_bound(make_case("memcpy"), ALONE, known)[1]


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("seats", [ONE, TWO, Seats(("h1",) * 4)])
def test_every_benchmark_has_a_ceiling_or_a_reason(name, seats):
    bound = find_bound(make_case(name), seats, LAPTOP)
    assert bound.source.startswith(NONE) == (bound.seconds is None)
    assert bound.seconds is None or bound.seconds > 0


@given(
    st.sampled_from(["latency", "bandwidth", "bibandwidth", "memcpy", "allreduce", "alltoall",
                     "broadcast", "exchange", "message_rate"]),
    st.integers(8, 2**28), st.integers(1, 2**28),
)  # fmt: skip
def test_more_bytes_never_have_a_lower_ceiling_of_time(name, size, more):
    axes = {"window": 1} if "window" in make_case(name).axes else {}
    few, many = (
        find_bound(make_case(name, **axes, bytes=each), ONE, LAPTOP).seconds
        for each in (size, size + more)
    )
    assert few <= many


# Processors.

AMD = "vendor_id : AuthenticAMD\ncpu family : {}\nmodel : {}\nmodel name : x\nflags : {}\n"
INTEL = "vendor_id : GenuineIntel\ncpu family : 6\nmodel : {}\nmodel name : x\nflags : {}\n"
ARM = "Features : {}\nCPU implementer : {}\nCPU architecture: 8\nCPU part : {}\n"
AVX2 = "sse4_2 avx avx2 fma"


@pytest.mark.parametrize(
    ("text", "fp64", "exact"),
    [
        (AMD.format(25, 17, AVX2 + " avx512f"), 16, True),  # Genoa halves AVX-512
        (AMD.format(25, 1, AVX2), 16, True),  # Milan
        (AMD.format(23, 49, AVX2), 16, True),  # Rome
        (AMD.format(23, 1, AVX2), 8, True),  # Naples
        (AMD.format(26, 2, AVX2 + " avx512f"), 32, False),  # Turin: at most
        (INTEL.format(79, AVX2), 16, True),  # Broadwell, E5 v4
        (INTEL.format(140, AVX2 + " avx512f"), 16, True),  # Tiger Lake: one unit
        (INTEL.format(85, AVX2 + " avx512f"), 32, False),  # Skylake: one unit or two
        (INTEL.format(106, AVX2 + " avx512f"), 32, False),  # Ice Lake in servers
        (INTEL.format(42, "sse4_2 avx"), 8, False),  # Sandy Bridge
        (ARM.format("fp asimd", "0x41", "0xd0c"), 8, True),  # Neoverse N1
        (ARM.format("fp asimd sve", "0x41", "0xd40"), 16, True),  # Neoverse V1
        (ARM.format("fp asimd sve sve2", "0x41", "0xd4f"), 16, True),  # Neoverse V2
        (ARM.format("fp asimd sve", "0x46", "0x001"), 32, True),  # A64FX
        (ARM.format("fp asimd sve", "0x99", "0x123"), None, False),  # vectors of no known length
        (ARM.format("fp asimd", "0x99", "0x123"), 16, False),
        ("processor : 0\nisa : rv64imafdcv\n", None, False),
        ("cpu : POWER9\nrevision : 2.2\n", None, False),
        (AMD.format("?", "-", AVX2), 16, False),  # numbers that are none
        ("", None, False),
    ],
)
def test_flop_per_cycle_of_processors_by_their_cpuinfo(tmp_path, text, fp64, exact):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    cpu = read_cpu(tmp_path)
    units = units_of(cpu.simd, cpu.design)
    assert (units and flop_per_cycle(units, "fp64")) == fp64
    assert bool(units and units.exact) == exact


# Rows and pages.


@pytest.mark.parametrize(("times", "found"), [(1.019, False), (1.021, True)])
def test_a_row_above_a_ceiling_is_a_finding_about_the_ceiling(times, found):
    case = make_case("latency", bytes=8)
    facts = msgspec.structs.replace(TOLD, ranks=(TOLD.ranks[0],) * 2)
    row = add_bound(row_of(case, 50e-9 / times), case, facts, LAPTOP)
    assert row.fraction_of_bound == pytest.approx(times)
    names = {finding.name: finding for finding in row_findings([row])}
    assert BEATS_BOUND not in names
    assert (BEATS_CEILING in names) == found
    if found:
        assert "in a slower moment of the machine" in names[BEATS_CEILING].text


def test_the_page_says_how_many_bounds_are_facts_or_ceilings_or_missing(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"])
    count = len(run.rows())

    def page(source: str, seconds: float | None) -> str:
        return build([bounded(run, seconds, source)], tmp_path / "page").read_text()

    ceiling = page(f"{CEILING}a cache line (44.0 ns each)", 1e-9)
    assert f"Bounds of {count} cases: {count} have a measured ceiling" in ceiling
    assert "no fact of the hardware" in ceiling
    assert "Dotted grey lines are ceilings" in ceiling
    fact = page("50 MB/s", 1e-9)
    assert f"Bounds of {count} cases: {count} have one from facts of the hardware" in fact
    assert "Dotted grey lines are bounds of the hardware." in fact
    beaten = page(f"{CEILING}a cache line (44.0 ns each)", 1.0)
    assert "than the ceiling that was measured beside them" in beaten


def test_over_launches_the_best_ceiling_stands_with_its_source(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"])
    table = load(run)
    first = table[table["case"] == table["case"].iloc[0]].head(1)
    line, copy = f"{CEILING}a line ({{}} ns)", f"{CEILING}a copy ({{}} GB/s)"
    # A slow moment's line takes longer, and a copy alone bounds less: neither is the bound.
    found = [(math.nan, f"{NONE}not tried"), (5e-8, line.format(50)), (4e-8, line.format(40)),
             (1e-9, copy.format(9))]  # fmt: skip
    lines = [
        first.assign(launch=launch, bound_s=seconds, bound_source=source)
        for launch, (seconds, source) in enumerate(found)
    ]
    (point,) = summarise(pd.concat(lines, ignore_index=True)).to_dict("records")
    assert (point["bound_s"], point["bound_source"]) == (4e-8, line.format(40))
    (unknown,) = summarise(pd.concat(lines[:1] * 2, ignore_index=True)).to_dict("records")
    assert math.isnan(unknown["bound_s"])
    assert unknown["bound_source"] == f"{NONE}not tried"


def test_what_was_reached_beside_a_case_is_no_prediction_of_it(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"])

    def baselines(source: str) -> set[str]:
        (group,) = score(bounded(run, 1e-9, source)).groups
        return {skill.baseline for skill in group.skills}

    assert "bound" in baselines("50 MB/s")
    assert "bound" not in baselines(f"{CEILING}a cache line (44.0 ns each)")


def journal_line(event: dict[str, object]) -> str:
    entry = {"time": "2026-11-20T09:00:00Z", "kind": "event", "job": "j", "attempt": 0}
    return msgspec.json.encode({**entry, "event": event}).decode() + "\n"


def test_a_report_made_later_takes_the_best_ceilings_of_the_whole_run(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["memcpy"])
    jobs = {(row.job, row.attempt) for row in run.rows()}
    told = msgspec.to_builtins(msgspec.structs.replace(TOLD, ranks=TOLD.ranks[:1]))
    slow = HostCeilings(passes=(Pass(1, 1, 3072, 1e9),))
    with (run.path / JOURNAL_FILE).open("w") as journal:
        for name, attempt in sorted(jobs, key=str):
            line = journal_line({**told, "type": "facts"})
            journal.write(line.replace('"job":"j"', f'"job":"{name}"').replace(
                '"attempt":0', f'"attempt":{attempt}'))  # fmt: skip
        for reached in (slow, REACHED, slow):
            journal.write(journal_line(msgspec.to_builtins(Ceilings({"h1": reached}))))
    machine = tmp_path / "machine.toml"
    machine.write_text('hosts = ["h9"]\n')
    sources = {row.bound_source for row in bound_again(run, machine).rows()}
    assert sources
    assert all(source.startswith(CEILING) for source in sources)
    assert any("200 GB/s" in source for source in sources)
