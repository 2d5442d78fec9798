"""Bounds of rows from facts alone: by hand, and the reason where there is none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import write_run

from bench.core.errors import RequestError
from bench.core.events import Facts, RankFacts
from bench.core.records import Axis, Case, Job, Origin, Prediction, Row, Stage, Status
from bench.judge.findings import BEATS_BOUND, row_findings
from bench.machine.cpu import Cache, CpuFacts
from bench.machine.description import parse_description
from bench.machine.facts import NodeFacts
from bench.machine.gpu import GpuFacts
from bench.machine.host import HostFacts
from bench.machine.nic import NicFacts, RdmaFacts, RdmaPort
from bench.machine.pci import PciDevice, PcieLink
from bench.measure import MEASUREMENTS
from bench.plan.plan import Plan, expand, make_plan
from bench.plan.suite import Block, load_suite, override_ranks, suite_names
from bench.predict.bounds import add_bound, bound_again, foresee
from bench.predict.bounds.bound import NONE, Bound, Seats
from bench.predict.bounds.hardware import Hardware, Unbounded
from bench.predict.bounds.rules import find_bound
from bench.run.resume import predict_rest
from bench.store.files import PREDICTIONS_FILE
from bench.store.tables import csv_lines, header_line

TWO = Seats(("h1", "h2"))
ONE = Seats(("h1", "h1"))
LAB = Hardware(
    {}, parse_description('hosts = ["h1", "h2"]\n[node.nic]\nlink = "50 MB/s"\nburst = "12500 B"')
)
WIRE = Hardware({}, parse_description('node.nic.link = "50 MB/s"'))


def make_case(name: str, **axes: Axis) -> Case:
    """Return a case with these axes, the others at their first default."""
    chosen = {axis.name: (axis.default[0],) for axis in MEASUREMENTS[name].axes}
    plain = next(expand(Block(name, chosen))).axes
    return Case(f"{name}/x", name, dict(sorted((plain | axes).items())))


def node(**facts: object) -> Hardware:
    """Return hardware whose hosts h1 and h2 have the same facts."""
    return Hardware(dict.fromkeys(("h1", "h2"), NodeFacts(**facts)))


def slot(address: str, generation: int | None = 3, width: int = 16) -> PciDevice:
    return PciDevice(address, None, None, None, PcieLink(generation, width, 5, 16))


def nic(name: str = "eth0", **changes: object) -> NicFacts:
    fields = {"pci": slot("0000:01:00.0"), "driver": "ice", "state": "up", "mtu": 9000}
    return NicFacts(name=name, **{**fields, "speed_mbit_per_s": 10_000, **changes})


def port(rate: float | None = 100.0, layer: str = "InfiniBand", state: str = "ACTIVE") -> RdmaPort:
    return RdmaPort(port=1, state=state, rate_gbit_per_s=rate, link_layer=layer)


# Messages between hosts, by hand at 50 MB/s.


@pytest.mark.parametrize(
    ("name", "axes", "seconds"),
    [
        ("latency", {"bytes": 10**6}, 0.02),
        ("pairs_latency", {"bytes": 10**6, "src_rank": 1, "dst_rank": 0}, 0.02),
        ("bandwidth", {"bytes": 10**6, "window": 4}, 0.02),
        ("pairs_bandwidth", {"bytes": 10**6, "src_rank": 1, "dst_rank": 0}, 0.02),
        ("message_rate", {"bytes": 1000}, 2e-5),
        # Both directions at once, each as wide as one alone.
        ("bibandwidth", {"bytes": 10**6}, 0.02),
        # 2 (n - 1) / n m = m on two hosts.
        ("allreduce", {"bytes": 10**6}, 0.02),
    ],
)
def test_bytes_between_hosts_take_their_wire_time(name, axes, seconds):
    bound = find_bound(make_case(name, **axes), TWO, WIRE)
    assert bound.seconds == pytest.approx(seconds)
    assert "machine file" in bound.source


def test_messages_that_share_a_buffer_pass_the_wire_like_any_others():
    axes = {"bytes": 10**6, "window": 64}
    shared = find_bound(make_case("bandwidth", **axes, buffers="shared"), TWO, WIRE)
    assert shared == find_bound(make_case("bandwidth", **axes), TWO, WIRE)


def test_what_a_shaped_link_lets_pass_at_once_is_taken_off():
    one = find_bound(make_case("latency", bytes=10**6), TWO, LAB)
    assert one.seconds == pytest.approx((10**6 - 12_500) / 5e7)
    assert one.usual_s == pytest.approx(0.02)
    # Once for a window, and so a quarter of it for each of four messages.
    four = find_bound(make_case("bandwidth", bytes=10**6, window=4), TWO, LAB)
    assert four.seconds == pytest.approx((10**6 - 12_500 / 4) / 5e7)
    small = find_bound(make_case("latency", bytes=8192), TWO, LAB)
    assert small.seconds is None
    assert "12500 B pass at once" in small.source


def test_the_links_of_a_host_add_up():
    two = Hardware({}, parse_description('[node.nic]\nlink = "50 MB/s"\ncount = 2'))
    bound = find_bound(make_case("latency", bytes=10**6), TWO, two)
    assert bound.seconds == pytest.approx(0.01)
    assert bound.source.startswith("bytes / B, B = 2 x 50.0 MB/s")


def test_three_ranks_on_each_of_two_hosts_cross_once():
    """The lab's proof: 4 MB at 400 Mbit/s take 80 ms, however many ranks a host has."""
    seats = Seats(("h1",) * 3 + ("h2",) * 3)
    case = make_case("allreduce", bytes=4 * 10**6, ranks=6)
    assert find_bound(case, seats, WIRE).seconds == pytest.approx(0.08)
    reducing = Hardware({}, parse_description('node.nic.link = "50 MB/s"\nnetwork.reduces = true'))
    four = Seats(("a", "b", "c", "d"))
    assert find_bound(case, four, WIRE).seconds == pytest.approx(0.12)
    bound = find_bound(case, four, reducing)
    assert bound.seconds == pytest.approx(0.08)
    assert "switches may add up" in bound.source


def test_a_host_that_the_machine_file_does_not_name_has_no_bound():
    bound = find_bound(make_case("latency"), Seats(("h1", "h9")), LAB)
    assert bound == (None, f"{NONE}the machine file does not name its host", None)


def test_a_link_of_the_catalogue_bounds_by_what_it_can_carry_at_most():
    bound = find_bound(
        make_case("latency", bytes=10**6),
        TWO,
        Hardware({}, parse_description('[node.nic]\nlink = "10gbe"\nmtu = 1500')),
    )
    assert bound.seconds == pytest.approx(10**6 / (1.25e9 * 1448 / 1538))


def test_verbs_are_bounded_by_the_wire_and_by_nothing_inside_a_host():
    case = make_case("verbs", bytes=10**6)
    wire = find_bound(make_case("latency", bytes=10**6), TWO, WIRE)
    assert find_bound(case, TWO, WIRE).seconds == wire.seconds
    alone = find_bound(case, Seats(("h1", "h1")), WIRE)
    assert alone.seconds is None
    assert "RDMA device" in alone.source


def test_an_exchange_is_bounded_by_the_bytes_that_its_schedule_sends():
    seats = Seats(("h1",) * 3 + ("h2",) * 3)
    case = make_case("exchange", bytes=4 * 10**6, strategy="naive", ranks=6)
    # The posts' case: each of three ranks sends to three others, 36 MB in all.
    assert find_bound(case, seats, WIRE).seconds == pytest.approx(0.72)
    counted = seats._replace(link_bytes=36_000_000)
    assert find_bound(case, counted, WIRE).seconds == pytest.approx(0.72)
    library = make_case("exchange", bytes=4 * 10**6, strategy="library", ranks=6)
    assert find_bound(library, seats, WIRE).seconds == pytest.approx(0.08)
    bits = make_case("exchange", bytes=4 * 10**6, strategy="one-bit", ranks=6)
    assert find_bound(bits, seats, WIRE).seconds is None
    assert find_bound(bits, counted, WIRE).seconds == pytest.approx(0.72)


@pytest.mark.parametrize(
    ("name", "axes", "seconds"),
    [
        # Three of four ranks of h1 send to h2, whose link carries three messages.
        ("multi_pair", {"pairs": 3, "ranks": 6}, 0.06),
        ("fan_in", {"peers": 3, "ranks": 4}, 0.06),
        ("fan_out", {"peers": 1, "ranks": 4}, 0.02),
        # Around the ring by three: every rank sends to the other host.
        ("ring_shift", {"distance": 3, "ranks": 6}, 0.06),
    ],
)
def test_what_is_sent_at_once_shares_the_link_of_its_host(name, axes, seconds):
    hosts = ("h1",) * 3 + ("h2",) * (axes["ranks"] - 3)
    case = make_case(name, bytes=10**6, window=1, **axes)
    assert find_bound(case, Seats(hosts), WIRE).seconds == pytest.approx(seconds)


def test_a_product_over_hosts_is_bounded_by_its_arithmetic_or_by_what_crosses():
    case = make_case("split_matmul", batch=1000, k=1000, n=1000, split="row")
    fast = Hardware(dict.fromkeys(("h1", "h2"), NodeFacts(cpu=CPU)), WIRE.machine)
    # 4 MB of partial sums, which two hosts exchange once.
    assert find_bound(case, TWO, fast).seconds == pytest.approx(0.08)
    column = make_case("split_matmul", batch=1000, k=1000, n=1000, split="column")
    assert find_bound(column, TWO, fast).seconds == pytest.approx(0.04)
    deep = make_case("split_matmul", batch=1, k=10**6, n=10**4, split="row")
    seconds = 2e10 / (2 * 8 * 32 * 3e9)
    assert find_bound(deep, TWO, fast).seconds == pytest.approx(seconds)


# Facts of network cards.


@pytest.mark.parametrize(
    ("facts", "rate"),
    [
        # TCP in frames of 9000 bytes.
        ({"nics": (nic(),)}, 1.25e9 * 8948 / 9038),
        # A card in a slot that is too narrow.
        ({"nics": (nic(pci=slot("0000:01:00.0", 1, 1)),)}, 2.5e9 * 0.8 / 8),
        # What is down carries nothing.
        ({"nics": (nic(), nic("eth1", state="down"))}, 1.25e9 * 8948 / 9038),
        # Two cards add up; two ports of one card share its slot.
        ({"nics": (nic(), nic("e1", pci=slot("0000:02:00.0")))}, 2 * 1.25e9 * 8948 / 9038),
        (
            {
                "nics": (
                    nic(pci=slot("0000:01:00.0", 2, 4)),
                    nic("e1", pci=slot("0000:01:00.1", 2, 4)),
                )
            },
            2e9,
        ),
        # InfiniBand, and the interface on the same card that does not count twice.
        (
            {
                "rdma": (RdmaFacts(name="mlx5_0", pci=slot("0000:01:00.0"), ports=(port(),)),),
                "nics": (nic(),),
            },
            12.5e9,
        ),
    ],
)
def test_the_ports_that_are_up_are_what_a_host_sends(facts, rate):
    assert node(**facts).network("h1").rate == pytest.approx(rate)
    bound = find_bound(make_case("latency", bytes=10**9), TWO, node(**facts))
    assert bound.seconds == pytest.approx(10**9 / rate)
    assert "NIC" in bound.source


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"nics": (nic(driver="veth", pci=None),)}, "virtual NIC, which states no true rate"),
        ({"nics": (nic(driver="virtio_net"),)}, "virtual NIC, which states no true rate"),
        ({"nics": (nic(speed_mbit_per_s=None),)}, "up and states no rate"),
        ({"nics": (nic(state="down"),)}, "no network port"),
        ({}, "no network port"),
        (
            {"rdma": (RdmaFacts(name="m", pci=slot("0000:01:00.0"), ports=(port(None),)),)},
            "states no rate",
        ),
        ({"rdma": (RdmaFacts(name="rxe0", ports=(port(),)),)}, "no known slot"),
    ],
)
def test_a_rate_that_no_fact_states_is_not_guessed(facts, why):
    bound = find_bound(make_case("latency"), TWO, node(**facts))
    assert bound.seconds is None
    assert bound.source.startswith(NONE)
    assert why in bound.source


def test_only_infiniband_may_add_up_in_its_switches():
    def network(layer: str) -> Hardware:
        card = RdmaFacts(name="m", pci=slot("0000:01:00.0"), ports=(port(100.0, layer),))
        return node(rdma=(card,))

    assert network("InfiniBand").network("h1").reduces
    assert not network("Ethernet").network("h1").reduces


# Arithmetic and memory inside a host.

CPU = CpuFacts(
    cores=8, mhz_max=3000.0, scaling_driver="amd-pstate-epp", simd=("avx", "avx2", "fma")
)


def test_a_product_on_cores_is_bounded_by_their_arithmetic():
    case = make_case("matmul", batch=100, k=1000, n=1000)
    seats = Seats(("h1",), {"h1": 4}, 2)
    bound = find_bound(case, seats, node(cpu=CPU))
    # Two threads: 2 cores of 32 FLOP per cycle at 3 GHz.
    assert bound.seconds == pytest.approx(2e8 / (2 * 32 * 3e9))
    assert "2 cores x 32 FLOP per cycle (2 units of AVX2 multiply-add)" in bound.source
    # Three ranks of two threads on four usable cores of a host with eight.
    crowd = find_bound(case, Seats(("h1",) * 3, {"h1": 4}, 2), node(cpu=CPU))
    assert crowd.seconds == pytest.approx(3 * 2e8 / (4 * 32 * 3e9))
    everything = find_bound(case, Seats(("h1",)), node(cpu=CPU))
    assert everything.seconds == pytest.approx(2e8 / (8 * 32 * 3e9))


@pytest.mark.parametrize(
    ("cpu", "system", "why"),
    [
        (CPU, HostFacts(hypervisor="KVM"), "virtual machine does not state the highest clock"),
        (msgspec.structs.replace(CPU, mhz_max=None), HostFacts(), "no fact states the highest"),
        # It names the clock without boost.
        (
            msgspec.structs.replace(CPU, scaling_driver="acpi-cpufreq"),
            HostFacts(),
            "boost included",
        ),
        (msgspec.structs.replace(CPU, simd=("asimd", "sve")), HostFacts(), "in a cycle"),
    ],
)
def test_a_clock_or_a_unit_that_is_not_stated_is_no_bound(cpu, system, why):
    bound = find_bound(make_case("matmul"), Seats(("h1",)), node(cpu=cpu, system=system))
    assert bound.seconds is None
    assert why in bound.source


def test_a_machine_file_states_the_clock_of_a_virtual_machine():
    facts = {"h1": NodeFacts(cpu=CPU, system=HostFacts(hypervisor="KVM"))}
    known = Hardware(facts, parse_description('node.cpu.clock = "2 GHz"'))
    bound = find_bound(make_case("matmul", batch=1, k=1, n=1), Seats(("h1",)), known)
    assert bound.seconds == pytest.approx(2 / (8 * 32 * 2e9))


def test_a_product_on_a_gpu_is_bounded_by_its_datasheet():
    case = make_case("matmul", batch=4096, k=4096, n=4096, memory="device")
    gpu = GpuFacts(vendor="nvidia", index=0, model="NVIDIA H200")
    bound = find_bound(case, Seats(("h1",)), node(gpus=(gpu,)))
    assert bound.seconds == pytest.approx(2 * 4096**3 / 67e12, rel=0.01)
    assert "H200" in bound.source
    faster = msgspec.structs.replace(gpu, sm_mhz_max=10_000.0)
    assert find_bound(case, Seats(("h1",)), node(gpus=(faster,))).seconds < bound.seconds
    # Two ranks on one GPU share it, on two they do not.
    both = find_bound(case, Seats(("h1", "h1")), node(gpus=(gpu,)))
    assert both.seconds == pytest.approx(2 * bound.seconds)
    apart = find_bound(case, Seats(("h1", "h1")), node(gpus=(gpu, gpu)))
    assert apart.seconds == pytest.approx(bound.seconds)


def test_a_product_on_a_gpu_stays_below_both_roofs():
    gpu = GpuFacts(vendor="nvidia", index=0, model="NVIDIA H200")
    hardware, l2 = node(gpus=(gpu,)), 50 * 2**20
    axes = {"k": 16384, "n": 16384, "dtype": "bf16", "memory": "device"}

    def bound(batch: int, sets: int | None = 1, hosts: tuple[str, ...] = ("h1",)) -> Bound:
        case = make_case("matmul", batch=batch, **axes)
        return find_bound(case, Seats(hosts, sets=sets, gpu_cache_bytes=l2), hardware)

    # One row: each weight is read for two FLOP, at 4.8 TB/s but for what L2 keeps.
    matrices = 2 * (16384 + 16384**2 + 16384)
    thin = bound(1)
    assert thin.seconds == pytest.approx((matrices - l2) / 4.8e12, rel=0.01)
    assert thin.usual_s == pytest.approx(matrices / 4.8e12, rel=0.01)
    assert "4.80 TB/s of NVIDIA H200" in thin.source
    # Of turns among several sets L2 keeps less of each.
    assert bound(1, sets=8).seconds == pytest.approx((matrices - l2 / 8) / 4.8e12, rel=0.01)
    # Two ranks on one GPU share its memory.
    assert bound(1, hosts=("h1", "h1")).seconds == pytest.approx(2 * thin.seconds)
    # Many rows: the peak is the lower roof, and beside the ridge both times are alike.
    arithmetic = bound(16384, sets=None)
    assert bound(16384).seconds == arithmetic.seconds
    assert arithmetic.seconds > 10 * thin.seconds
    # What may lie in the cache, or is not known yet, is bounded by arithmetic alone.
    case = make_case("matmul", batch=64, k=64, n=64, dtype="bf16", memory="device")
    small = find_bound(case, Seats(("h1",), sets=1, gpu_cache_bytes=l2), hardware)
    assert small.seconds == find_bound(case, Seats(("h1",)), hardware).seconds


@pytest.mark.parametrize(
    ("gpus", "why"),
    [
        ((), "no GPU is known"),
        ((GpuFacts(vendor="nvidia", index=0, model="NVIDIA X1"),), "no row for NVIDIA X1"),
    ],
)
def test_a_gpu_that_is_not_known_has_no_bound(gpus, why):
    bound = find_bound(make_case("matmul", memory="device"), Seats(("h1",)), node(gpus=gpus))
    assert why in bound.source


def test_a_copy_between_host_and_gpu_passes_its_pcie_link():
    gpu = GpuFacts(vendor="nvidia", index=0, model="NVIDIA H200", pcie=PcieLink(1, 8, 5, 16))
    hardware = node(gpus=(gpu,))
    # An idle GPU says generation 1 and copies at 5; lanes that did not come up stay away.
    case = make_case("copy", bytes=10**9)
    bound = find_bound(case, Seats(("h1",)), hardware)
    assert bound.seconds == pytest.approx(10**9 / (32e9 * 8 * 128 / 130 / 8))
    assert "pcie5-x8" in bound.source
    inside = make_case("copy", memory="device", dst_memory="device")
    assert find_bound(inside, Seats(("h1",)), hardware).seconds is None
    assert (
        "NVIDIA H200 is not known"
        in find_bound(
            case, Seats(("h1",)), node(gpus=(msgspec.structs.replace(gpu, pcie=None),))
        ).source
    )


CACHES = (Cache("L2", 2**20, 8), Cache("L3", 24 * 2**20, 1))
"""32 MiB together."""
MEMORY = Hardware(
    {"h1": NodeFacts(cpu=CpuFacts(caches=CACHES))},
    parse_description('node.memory.bandwidth = "100 GB/s"'),
)


def test_data_beyond_the_caches_passes_main_memory():
    size = 128 * 2**20
    held = 32 * 2**20
    copy = find_bound(make_case("memcpy", bytes=size), Seats(("h1",)), MEMORY)
    assert copy.seconds == pytest.approx((2 * size - held) / 1e11)
    two = find_bound(make_case("memcpy", bytes=size, ranks=2), ONE, MEMORY)
    assert two.seconds == pytest.approx((4 * size - held) / 1e11)
    triad = find_bound(make_case("stream", bytes=size, kernel="triad"), Seats(("h1",)), MEMORY)
    assert triad.seconds == pytest.approx((3 * size - held) / 1e11)
    window = find_bound(make_case("bandwidth", bytes=2**20, window=64), ONE, MEMORY)
    shared = make_case("bandwidth", bytes=2**20, window=64, buffers="shared")
    assert "fits into twice the caches" in find_bound(shared, ONE, MEMORY).source
    assert window.seconds == pytest.approx((128 * 2**20 - held) / 64 / 1e11)


@pytest.mark.parametrize(
    ("hardware", "case", "why"),
    [
        (MEMORY, make_case("memcpy", bytes=2**20), "fits into twice the caches"),
        (MEMORY, make_case("latency", bytes=2**20), "fits into twice the caches"),
        (node(), make_case("memcpy", bytes=2**30), "no fact states the bandwidth of main memory"),
        (node(), make_case("latency"), "no fact states the bandwidth of main memory"),
        (node(), make_case("allreduce"), "stays inside a host"),
    ],
)
def test_what_caches_may_hold_has_no_bound(hardware, case, why):
    assert why in find_bound(case, ONE, hardware).source


# Every benchmark.


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("seats", [TWO, ONE])
@pytest.mark.parametrize("hardware", [Hardware(), node(), LAB, MEMORY])
def test_every_benchmark_has_a_bound_or_a_reason(name, seats, hardware):
    bound = find_bound(make_case(name), seats, hardware)
    assert bound.source.startswith(NONE) == (bound.seconds is None)
    assert bound.seconds is None or bound.seconds > 0
    assert len(bound.source) > len(NONE) + 10


def test_a_benchmark_without_a_formula_says_so():
    assert "no formula" in find_bound(Case("x", "new", {}), TWO, WIRE).source


@given(
    st.sampled_from([name for name in MEASUREMENTS if "bytes" in
                     {axis.name for axis in MEASUREMENTS[name].axes}]),
    st.integers(1, 2**30),
    st.integers(1, 2**30),
    st.sampled_from([LAB, WIRE, MEMORY]),
)  # fmt: skip
def test_more_bytes_never_have_a_lower_bound(name, size, more, hardware):
    for seats in (TWO, ONE):
        axes = {"window": 1} if "window" in make_case(name).axes else {}
        small = find_bound(make_case(name, **axes, bytes=size), seats, hardware).seconds
        large = find_bound(make_case(name, **axes, bytes=size + more), seats, hardware).seconds
        if small is not None:
            assert large is not None
            assert large >= small


@given(st.floats(1e3, 1e12), st.floats(1, 1e3))
def test_a_faster_link_never_has_a_higher_bound(rate, times):
    case = make_case("allreduce", bytes=2**20)
    slow, fast = (
        find_bound(case, TWO, Hardware({}, parse_description(f"payload_bytes_per_s = {r}"))).seconds
        for r in (rate, rate * times)
    )
    assert fast <= slow


# Rows and predictions.

TOLD = Facts((RankFacts("h1", 1, (0,)), RankFacts("h2", 2, (0,))), None, None, None, None, nodes={})


def row_of(case: Case, seconds: float | None, status: Status = Status.OK) -> Row:
    return Row(
        run="r", origin=Origin.MEASURED, job="j", attempt=0, launch=0, order=0, case=case.id,
        benchmark=case.benchmark, status=status, t_median_s=seconds,
    )  # fmt: skip


def test_a_row_gets_its_bound_and_the_share_of_it():
    case = make_case("latency", bytes=10**6)
    row = add_bound(row_of(case, 0.025), case, TOLD, WIRE)
    assert row.bound_s == pytest.approx(0.02)
    assert row.fraction_of_bound == pytest.approx(0.8)
    failed = add_bound(row_of(case, 0.025, Status.FAILED), case, TOLD, WIRE)
    assert (failed.bound_s, failed.fraction_of_bound) == (row.bound_s, None)
    silent = add_bound(row_of(case, None), case, None, WIRE)
    assert silent.bound_s is None
    assert silent.bound_source == "none: its job never told where its ranks ran"


@pytest.mark.parametrize(("seconds", "found"), [(0.02 / 1.019, 0), (0.02 / 1.021, 1)])
def test_a_row_that_beats_its_bound_by_over_2_per_cent_is_found_and_not_clipped(seconds, found):
    case = make_case("latency", bytes=10**6)
    row = add_bound(row_of(case, seconds), case, TOLD, WIRE)
    assert row.t_median_s == seconds
    findings = [f for f in row_findings([row]) if f.name == BEATS_BOUND]
    assert len(findings) == found
    if found:
        assert findings[0].text.startswith("1 row is faster than its bound by over 2 %")
        assert "latency/x" in findings[0].text
        assert "50.0 MB/s, payload of a link, machine file" in findings[0].text


def test_what_can_be_foreseen_is_frozen_before_any_job():
    cases = (make_case("latency", bytes=10**6), make_case("memcpy"))
    jobs = [Job("j", Stage.TARGET, launch, 2, 1, cases) for launch in (0, 1)]
    found = foresee(jobs, lambda job: ("h1", "h2")[: job.ranks], LAB, "2026-11-20T09:00:00Z")
    assert [(p.case, p.launch, p.tier) for p in found] == [("latency/x", n, "D") for n in (0, 1)]
    assert found[0].seconds == pytest.approx(0.02)
    assert found[0].low_s == pytest.approx((10**6 - 12_500) / 5e7)
    assert found[0].high_s is None
    assert "machine file" in found[0].formula


def test_an_old_run_gets_bounds_from_a_machine_file(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency", "memcpy"])
    file = tmp_path / "machine.toml"
    file.write_text("payload_bytes_per_s = 5e7\n")
    assert {row.bound_source for row in run.rows()} == {None}
    rows = bound_again(run, file).rows()
    assert len(rows) == len(run.rows())
    # This run has no journal, so nobody knows where its ranks were.
    assert {row.bound_source for row in rows} == {"none: its job never told where its ranks ran"}


def test_a_run_that_was_stopped_early_still_gets_its_calibrated_predictions(tmp_path):
    """Datasheet predictions are frozen before all others, which a resumed run must not miss."""
    run = write_run(tmp_path / "run", benchmarks=["latency"], predict=False)
    calibrated = [row for row in run.rows() if row.job.startswith("calibrate")]
    plan = Plan(load_suite("quick"), 1, 1, run.plan)
    early = foresee(run.plan, lambda _: ("h1", "h2"), WIRE, "2026-11-20T09:00:00Z")
    assert early
    path = run.path / PREDICTIONS_FILE
    path.write_text(header_line(Prediction) + csv_lines(early))
    made = predict_rest(run, calibrated)(plan, calibrated, "2026-11-20T09:00:01Z")
    assert {p.tier for p in made} == {"C"}
    path.write_text(header_line(Prediction) + csv_lines([*early, *made]))
    assert predict_rest(run, calibrated)(plan, calibrated, "2026-11-20T09:00:02Z") == []


def test_hosts_that_nobody_knows_are_said_to_be_unknown():
    with pytest.raises(Unbounded, match="facts of its host are not known"):
        Hardware().facts("h1")


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("name", suite_names())
def test_every_suite_is_foreseen_on_any_number_of_ranks(name, ranks):
    try:
        plan = make_plan(override_ranks(load_suite(name), ranks))
    except RequestError:
        return  # a benchmark of it cannot run on so many, and the command line says so
    hosts = ("h1", "h2")
    found = foresee(
        plan.jobs,
        lambda job: [hosts[rank * 2 // job.ranks] for rank in range(job.ranks)],
        LAB,
        "now",
    )
    assert all((prediction.seconds or 0) > 0 for prediction in found)
