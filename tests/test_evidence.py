"""What was seen of a path: distances, logs and counters read, and the verdict over them."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest
import traces
from hypothesis import given
from hypothesis import strategies as st
from test_machine_gpu import Nvml
from trees import (
    Link,
    Tree,
    gpu_address,
    gpu_node,
    laptop,
    pci_files,
    rdma_files,
    spoil,
    write_tree,
)

from bench.core.events import Counter
from bench.judge.path import nccl, ucx
from bench.judge.path.verdict import Clues, Level, ObservedPath, judge
from bench.machine.direct_path import describe_paths, gather_paths
from bench.machine.gpu import GpuFacts
from bench.machine.mpi import find_mpi
from bench.machine.nic import read_rdma
from bench.machine.topology import find_gpus, read_acs, relate
from bench.rank.counters import count_between, read_counters
from bench.rank.gpu_counters import ask_gpu_bytes

LINK = ["32.0 GT/s PCIe", "16", "32.0 GT/s PCIe", "16"]


def config(acs: int | None, acs_place: int = 0x148) -> bytes:
    """Return a configuration space whose ACS control register holds `acs`."""
    space = bytearray(4096)
    struct.pack_into(
        "<I", space, 0x100, 0x0001 | 1 << 16 | (acs_place if acs is not None else 0) << 20
    )
    if acs is not None:
        struct.pack_into("<IHH", space, acs_place, 0x000D | 1 << 16, 0x5F, acs)
    return bytes(space)


def switched_node(acs: int | None = 0) -> Tree:
    """Return a node of two sockets whose first one has two switches below a root port each.

    GPU 10 and card mlx5_0 share a switch; card mlx5_1 is below a second level of it, mlx5_2 below
    another root port, mlx5_3 below another host bridge, mlx5_4 at the other socket.
    """
    root = "sys/devices/pci0000:00/0000:00:01.0"
    upper = f"{root}/0000:01:00.0"
    bridges = [
        root,
        upper,
        f"{upper}/0000:02:00.0",
        f"{upper}/0000:02:01.0",
        f"{upper}/0000:02:02.0",
    ]
    deep = f"{upper}/0000:02:02.0/0000:05:00.0"
    bridges += [deep, f"{deep}/0000:06:00.0"]
    tree: Tree = {}
    for bridge in bridges:
        tree |= pci_files(bridge, ("1000", "c030"), "0x060400", 0, LINK)
        tree[f"{bridge}/config"] = config(acs)
    tree |= pci_files(f"{bridges[2]}/0000:10:00.0", ("10de", "2330"), "0x030200", 0, LINK)
    cards = [
        (f"{bridges[3]}/0000:11:00.0", 0),
        (f"{deep}/0000:06:00.0/0000:12:00.0", 0),
        ("sys/devices/pci0000:00/0000:00:02.0/0000:13:00.0", 0),
        ("sys/devices/pci0000:40/0000:40:01.0/0000:14:00.0", 0),
        ("sys/devices/pci0000:80/0000:80:01.0/0000:15:00.0", 1),
    ]
    for number, (folder, numa) in enumerate(cards):
        tree |= pci_files(folder, ("15b3", "1021"), "0x020700", numa, LINK)
        tree |= rdma_files(f"mlx5_{number}", folder, up=True)
    tree["proc/sys/kernel/osrelease"] = "6.8.0-45-generic\n"
    return tree


def between(tmp_path: Path, tree: Tree) -> dict[str, object]:
    root = write_tree(tmp_path, tree)
    return {one.nic: one for one in relate(root, ("0000:10:00.0",), read_rdma(root))}


def test_distances_are_those_of_the_tree(tmp_path):
    found = between(tmp_path, switched_node())
    assert {nic: one.distance for nic, one in found.items()} == {
        "mlx5_0": "PIX", "mlx5_1": "PXB", "mlx5_2": "PHB", "mlx5_3": "NODE", "mlx5_4": "SYS",
    }  # fmt: skip
    assert {nic: one.acs_redirect for nic, one in found.items()} == {
        "mlx5_0": False, "mlx5_1": False, "mlx5_2": None, "mlx5_3": None, "mlx5_4": None,
    }  # fmt: skip


def test_every_gpu_is_related_to_every_card(tmp_path):
    root = write_tree(tmp_path, gpu_node())
    gpus = find_gpus(root)
    assert gpus == tuple(gpu_address(slot) for slot in range(8))
    found = {(one.gpu, one.nic): one.distance for one in relate(root, gpus, read_rdma(root))}
    assert len(found) == 64
    assert found[gpu_address(2), "mlx5_2"] == "PHB"
    assert found[gpu_address(2), "mlx5_3"] == "NODE"
    assert found[gpu_address(2), "mlx5_7"] == "SYS"


def test_an_unknown_numa_node_leaves_the_distance_open(tmp_path):
    tree = switched_node()
    tree["sys/devices/pci0000:80/0000:80:01.0/0000:15:00.0/numa_node"] = "-1\n"
    assert between(tmp_path, tree)["mlx5_4"].distance is None


@pytest.mark.parametrize(
    ("acs", "redirect"), [(0, False), (0x13, False), (0x1D, True), (0x4, True)]
)
def test_acs_redirects_where_its_bits_say_so(tmp_path, acs, redirect):
    assert between(tmp_path, switched_node(acs))["mlx5_0"].acs_redirect is redirect


def test_a_bridge_without_acs_redirects_nothing(tmp_path):
    assert between(tmp_path, switched_node(None))["mlx5_0"].acs_redirect is False


def test_what_only_root_may_see_is_unknown_with_the_reason(tmp_path):
    tree = switched_node()
    tree = {
        n: c[:64] if n.endswith("/config") and isinstance(c, bytes) else c for n, c in tree.items()
    }
    one = between(tmp_path, tree)["mlx5_0"]
    assert one.distance == "PIX"
    assert one.acs_redirect is None
    assert "root" in one.acs_reason


@given(st.binary(max_size=4096))
def test_no_configuration_space_stops_the_reader(tmp_path_factory, space):
    path = tmp_path_factory.getbasetemp() / "config"
    path.write_bytes(space)
    assert read_acs(path) is not None


def test_a_loop_of_capabilities_ends(tmp_path):
    space = bytearray(4096)
    struct.pack_into("<I", space, 0x100, 0x0001 | 0x100 << 20)
    (tmp_path / "config").write_bytes(space)
    assert read_acs(tmp_path / "config") is False


OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82  Release Build\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82  Release Build\n"


@pytest.mark.parametrize(
    ("kernel", "driver", "cuda", "possible", "why"),
    [
        ("6.8.0-45", OPEN, "13.0", None, "UCX"),  # no stored tree tells the version of UCX
        ("5.10.0", OPEN, "13.0", False, "kernel older than 5.12"),
        ("6.8.0-45", CLOSED, "13.0", False, "open"),
        ("6.8.0-45", OPEN, "11.6", False, "CUDA older than 11.7"),
        ("6.8.0-45", OPEN, None, None, "CUDA"),
        ("garbage", OPEN, "13.0", None, "kernel"),
    ],
)
def test_dma_buf_is_judged_by_kernel_driver_and_cuda(tmp_path, kernel, driver, cuda, possible, why):
    tree = switched_node()
    tree |= {"proc/sys/kernel/osrelease": f"{kernel}\n", "proc/driver/nvidia/version": driver}
    facts = gather_paths(
        write_tree(tmp_path, tree), (GpuFacts(vendor="nvidia", index=0, cuda=cuda),)
    )
    assert facts.dma_buf is possible
    assert facts.possible is possible
    assert why in facts.dma_buf_reason


def test_a_loaded_module_makes_the_direct_path_possible(tmp_path):
    tree = switched_node() | {
        "proc/sys/kernel/osrelease": "5.4.0\n",
        "sys/module/nvidia_peermem/version": "580\n",
        "sys/kernel/iommu_groups/0/type": "DMA-FQ\n",
        "sys/kernel/iommu_groups/1/type": "identity\n",
    }
    facts = gather_paths(write_tree(tmp_path, tree))
    assert facts.peer_module == "nvidia_peermem"
    assert facts.possible is True
    assert facts.iommu == "DMA-FQ and identity"
    assert "PIX" in describe_paths(facts)


def test_amd_registers_with_the_rdma_core(tmp_path):
    tree = switched_node() | {"sys/kernel/mm/memory_peers/amdkfd/version": "1.0\n"}
    assert gather_paths(write_tree(tmp_path, tree)).peer_module == "amdkfd"


def test_a_machine_without_a_gpu_has_no_direct_path(tmp_path):
    facts = gather_paths(write_tree(tmp_path, laptop()))
    assert facts.possible is False
    assert facts.dma_buf_reason == "no GPU on the bus"
    assert facts.between == ()


def test_a_tree_of_garbage_is_read_without_a_guess(tmp_path):
    facts = gather_paths(write_tree(tmp_path, spoil(switched_node(), b"\xff\x00garbage")))
    assert facts.possible is False
    assert find_gpus(tmp_path) == ()


def test_this_machine_is_read():
    facts = gather_paths()
    assert facts.possible in (True, False, None)
    assert facts.ucx_transports is not None or facts.ucx_reason
    assert describe_paths(facts).isprintable()


# Traces


@pytest.mark.parametrize(
    ("nbytes", "across", "route"),
    [
        (8, True, "staged"),
        (4096, True, "staged"),
        (8192, True, "staged"),
        (8193, True, "direct"),
        (800_000, True, "direct"),
        (800_001, True, "staged"),
        (2**30, True, "staged"),
        (64, False, "staged"),
        (4096, False, "direct"),
    ],
)
def test_a_row_is_matched_to_the_range_of_its_size(nbytes, across, route):
    found = ucx.routes(ucx.parse_trace(traces.UCX_OLD), nbytes, across)
    assert [one for one, _ in found] == [route]
    assert str(nbytes) in found[0][1]


def test_host_memory_and_oneself_say_nothing_of_a_gpu():
    trace = ucx.parse_trace(traces.UCX_OLD)
    endpoints = {line.endpoint for line in trace.protocols}
    assert any("self" in endpoint for endpoint in endpoints)
    assert {line.memory for line in trace.protocols} == {"cuda", "host"}
    both = ucx.routes(trace, 2**20, None)
    assert {route for route, _ in both} == {"staged", "direct"}


def test_what_was_never_used_and_fragments_do_not_count():
    trace = ucx.parse_trace(traces.UCX_COUNTED)
    assert [line.count for line in trace.protocols] == [0, 340, 12]
    assert ucx.routes(trace, 100, True) == ()
    assert [route for route, _ in ucx.routes(trace, 2**20, True)] == ["direct"]


def test_processes_that_print_at_once_are_told_apart():
    said = ("(?) rendezvous zero-copy read from remote", "eager short")
    lines = [
        traces.ucx_lines(
            traces.table(
                "w inter-node cfg#1", traces.SEND, [("0..inf", words, "rc_mlx5/mlx5_0:1")]
            ),
            rank=rank,
        ).splitlines(keepends=True)
        for rank, words in enumerate(said)
    ]
    mixed = "".join(line for pair in zip(*lines, strict=True) for line in pair)
    found = ucx.parse_trace(mixed).protocols
    assert {(line.steps, line.most) for line in found} == {
        ("rendezvous zero-copy read from remote", None),
        ("eager short", None),
    }


def test_endpoints_tell_their_transports_and_the_version():
    trace = ucx.parse_trace(traces.UCX_ENDPOINTS)
    assert trace.version == "1.17.0"
    assert trace.lanes == (("intra-node", ("sysv", "cuda_ipc")), ("ep_cfg[2]", ("rc_mlx5",)))


@given(st.text(alphabet="|+-. 0123456789KMinf()?cudafromtagbyx/[]:#", max_size=300))
def test_no_text_stops_the_readers(text):
    assert ucx.parse_trace(text).version is None
    assert nccl.parse_trace(text).channels == ()


def test_nccl_channels_say_what_carries_them():
    trace = nccl.parse_trace(traces.NCCL_DIRECT)
    assert [channel.via for channel in trace.channels] == [
        "P2P/CUMEM", "NET/IB/0/GDRDMA", "NET/IB/1(3)/GDRDMA/Shared",
    ]  # fmt: skip
    assert trace.gpudirect == ((True, "HCA 0 'mlx5_2'"),)
    assert {route for route, _ in nccl.routes(trace, True)} == {"direct"}
    staged = nccl.parse_trace(traces.NCCL_STAGED)
    assert {route for route, _ in nccl.routes(staged, True)} == {"staged"}
    assert {route for route, _ in nccl.routes(staged, False)} == {"staged"}


def test_channels_of_other_pairs_of_the_job_say_nothing_of_a_row():
    trace = nccl.parse_trace(
        "NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM\n"
        "NCCL INFO Channel 00/0 : 1[1] -> 0[0] via P2P/CUMEM\n"
        "NCCL INFO Channel 00 : 2[2] -> 3[3] via SHM/direct/direct\n"
    )
    assert {route for route, _ in nccl.routes(trace, None, (1, 0))} == {"direct"}
    assert {route for route, _ in nccl.routes(trace, None, (2, 3))} == {"staged"}
    assert nccl.routes(trace, None, (0, 3)) == ()
    assert {route for route, _ in nccl.routes(trace, None)} == {"direct", "staged"}


def test_a_card_without_gpudirect_that_no_channel_names_is_staged():
    trace = nccl.parse_trace(
        "x NCCL INFO GPU Direct RDMA Disabled for GPU 2 / HCA 0 (distance 6 > 4)"
    )
    assert nccl.routes(trace, True) != ()
    assert nccl.routes(trace, False) == ()


# Counters


def test_counters_of_cards_are_read_in_bytes(tmp_path):
    tree = {
        "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data": "250\n",
        "sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data": "10\n",
        "sys/class/infiniband/mlx5_0/ports/2/counters/port_xmit_data": f"{2**32 - 1}\n",
        "sys/class/infiniband/mlx5_0/ports/2/counters/port_rcv_data": "10\n",
        "sys/class/net/eth0/statistics/tx_bytes": "7000\n",
        "sys/class/net/eth0/statistics/rx_bytes": "9000\n",
        "sys/class/net/bond0/statistics/tx_bytes": "7000\n",
        "sys/class/net/bond0/statistics/rx_bytes": "9000\n",
        "sys/class/net/bond0/lower_eth0": Link("sys/class/net/eth0"),
        "sys/class/net/lo/statistics/tx_bytes": "1\n",
        "sys/class/net/lo/statistics/rx_bytes": "1\n",
        "sys/class/net/eth1/statistics/tx_bytes": "garbage\n",
    }
    assert read_counters(write_tree(tmp_path, tree)) == (
        Counter("ethernet", "eth0", 7000, 9000),
        Counter("infiniband", "mlx5_0:1", 1000, 40),
    )


def test_a_counter_that_was_reset_or_stood_still_says_nothing():
    before = [Counter("ethernet", n, 100, 100) for n in ("a", "b", "c")]
    after = [Counter("ethernet", "a", 350, 120), Counter("ethernet", "b", 5, 5), before[2],
             Counter("ethernet", "new", 10**9, 1)]  # fmt: skip
    assert count_between(before, after) == (Counter("ethernet", "a", 250, 20, 100, 100),)


def test_loopback_traffic_is_not_a_port_s(tmp_path):
    assert all(counter.device != "lo" for counter in read_counters())


class _Nvml(Nvml):
    """One GPU whose links 1 to 3 are active, of the 18 that its like can have.

    What it answers by field is of the type that a field has; the rest of the union is left over
    from another call.
    """

    def __init__(self, known: dict[int, tuple[int, str, int]], **answers) -> None:
        super().__init__(
            nvmlDeviceGetCount=1,
            nvmlDeviceGetNvLinkState=lambda _gpu, link: int(0 < link < 4),
            nvmlDeviceGetFieldValues=self._values,
            **answers,
        )
        self.known, self.asked = known, []

    def _values(self, _gpu, fields):
        if any(field not in self.known for field, _ in fields):
            raise pynvml.NVMLError_InvalidArgument()
        answers = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for answer, (field, link) in zip(answers, fields, strict=True):
            self.asked.append((field, link))
            kind, member, value = self.known[field]
            answer.valueType = kind
            answer.value.ullVal = 2**63 - 1
            setattr(answer.value, member, value)
        return answers


LONG, LONG_LONG, SHORT = (2, "ulVal"), (3, "ullVal"), (1, "uiVal")
HOPPER = {138: (*LONG_LONG, 10), 139: (*LONG_LONG, 20)}
BLACKWELL = {202: (*LONG_LONG, 500), 204: (*LONG_LONG, 700)}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            {197: (*LONG, 5_000), 198: (*LONG, 6_000)} | HOPPER,
            [("pcie", 0, 5_000, 6_000), ("nvlink", 0, 3 * 10 * 1024, 3 * 20 * 1024)],
        ),
        (BLACKWELL, [("nvlink", 0, 1_500, 2_100)]),
        # A driver that knows one way alone refuses the question for both.
        ({138: (*LONG_LONG, 10)}, [("nvlink", 0, 3 * 10 * 1024, 0)]),
        ({}, []),
    ],
)
def test_gpus_count_pcie_bytes_and_those_of_active_nvlinks(known, expected):
    nvml = _Nvml(known)
    assert ask_gpu_bytes(nvml) == expected
    assert {link for field, link in nvml.asked if field not in (197, 198)} <= {1, 2, 3}


def test_a_counter_of_32_bits_is_no_count_of_bytes():
    """A second at 50 GB/s fills it eleven times, and whatever rest is left looks like a count."""
    at_s = {}
    for seconds in (1.0, 2.04):
        sent = int(50e9 * seconds)
        nvml = _Nvml({197: (*SHORT, sent % 2**32), 198: (*SHORT, sent % 2**32)} | HOPPER)
        at_s[seconds] = [
            Counter(each.kind, "gpu0", each.sent, each.received) for each in ask_gpu_bytes(nvml)
        ]
    assert not [c for c in count_between(at_s[1.0], at_s[2.04]) if c.kind == "pcie"]


# The verdict

DIRECT = (("direct", "zero-copy rc_mlx5"),)
STAGED = (("staged", "pipeline cuda_copy"),)
SLOWER = {"forbidden": 3.0, "forbidden_apart": True}
COUNTED = {"across": True, "on_ports": 1.03, "ports": "mlx5_0:1"}
HOG_STANDS = {"hog": 1.01, "hog_apart": False, "hog_control": True}
HOG_FALLS = {"hog": 1.8, "hog_apart": True, "hog_control": True}

TRUTHS = [
    # Nothing, or what decides nothing.
    ({}, "UNKNOWN", "E0", "nothing shows"),
    ({"possible": True}, "UNKNOWN", "E0", "nothing shows"),
    ({"forbidden": 1.0, "forbidden_apart": False}, "UNKNOWN", "E0", "equal arms prove nothing"),
    ({"forbidden": 1.1, "forbidden_apart": True}, "UNKNOWN", "E0", "equal arms prove nothing"),
    ({"forbidden": 3.0, "forbidden_apart": False}, "UNKNOWN", "E0", "3.00 times as long, but"),
    ({"forbidden": 0.5, "forbidden_apart": True}, "UNKNOWN", "E0", "faster, which proves nothing"),
    (COUNTED, "UNKNOWN", "E0", "copies in the host were not counted"),
    ({"hog": 1.0, "hog_apart": False}, "UNKNOWN", "E0", "no staged path was seen to fall"),
    ({**HOG_FALLS, "hog_shares_cores": True}, "UNKNOWN", "E0", "may be the cores"),
    # Staged is believed early.
    ({"possible": False, "possible_why": "old kernel"}, "STAGED", "E0", "old kernel"),
    ({"routes": STAGED}, "STAGED", "E1", "cuda_copy"),
    ({"refused": "no driver"}, "STAGED", "E2", "no driver"),
    ({"required": 0.4, "required_apart": True}, "STAGED", "E2", "required it took 0.40"),
    ({"required": 0.9, "required_apart": True}, "UNKNOWN", "E0", "nothing shows"),
    ({"copied": 1.0, **COUNTED}, "STAGED", "E3", "passed host memory"),
    (HOG_FALLS, "STAGED", "E4", "1.80 times"),
    ({"routes": STAGED, **HOG_FALLS}, "STAGED", "E4", "E1: pipeline"),
    # Direct never below E3.
    ({"routes": DIRECT}, "UNKNOWN", "E1", "nothing below E3 proves it"),
    ({"possible": True, "routes": DIRECT, **SLOWER}, "UNKNOWN", "E2", "nothing below E3"),
    ({"routes": DIRECT, **SLOWER, **COUNTED}, "UNKNOWN", "E2", "nothing below E3"),
    ({"copied": 0.0, **COUNTED}, "DIRECT", "E3", "nothing passed host memory"),
    ({"routes": DIRECT, **SLOWER, "copied": 0.01, **COUNTED}, "DIRECT", "E3", "E1: zero-copy"),
    ({"across": False, "on_nvlink": 1.0}, "DIRECT", "E3", "NVLink carried"),
    ({**HOG_STANDS, **COUNTED}, "DIRECT", "E4", "did not slow it"),
    ({**HOG_STANDS, "across": True}, "UNKNOWN", "E4", "no port was seen"),
    ({**HOG_STANDS, "across": False}, "DIRECT", "E4", "did not slow it"),
    # Contradictions.
    ({"routes": (*DIRECT, *STAGED)}, "UNKNOWN", "E1", "contradiction"),
    ({"routes": DIRECT, "refused": "no driver"}, "UNKNOWN", "E2", "contradiction"),
    ({"routes": STAGED, **SLOWER}, "UNKNOWN", "E2", "contradiction"),
    ({"possible": False, "possible_why": "", "routes": DIRECT}, "UNKNOWN", "E1", "contradiction"),
    ({"routes": DIRECT, "copied": 1.0, **COUNTED}, "UNKNOWN", "E3", "contradiction"),
    ({"routes": DIRECT, "across": True, "on_ports": 0.01}, "UNKNOWN", "E3", "another way"),
    ({"routes": DIRECT, **COUNTED, **HOG_FALLS}, "UNKNOWN", "E4", "contradiction"),
    # Other memory and other paths.
    ({"memory": "host"}, "UNKNOWN", "E0", "host memory"),
    ({"memory": "host", **COUNTED}, "UNKNOWN", "E3", "mlx5_0:1 counted 1.03 times"),
    ({"memory": "host", **SLOWER, "copied": 0.0, **COUNTED}, "UNKNOWN", "E3", "host memory"),
    ({"memory": "standin", "copied": 0.0, **COUNTED, **HOG_STANDS}, "UNKNOWN", "E0", "standin"),
    ({"asked": "staged"}, "STAGED", "E0", "MPI was handed copies"),
    ({"asked": "nccl"}, "UNKNOWN", "E0", "nothing shows the path"),
    ({"asked": "nccl", "across": False, "on_nvlink": 1.0}, "DIRECT", "E3", "NVLink carried"),
    ({"asked": "staged", "memory": "standin", **HOG_FALLS}, "STAGED", "E4", "1.80 times"),
    ({"asked": "staged", **HOG_FALLS, "hog_shares_cores": True}, "STAGED", "E0", "the cores"),
]  # fmt: skip


@pytest.mark.parametrize(("clues", "path", "level", "words"), TRUTHS)
def test_the_verdict_is_this(clues, path, level, words):
    verdict = judge(Clues(**clues))
    assert (verdict.path, verdict.level) == (ObservedPath(path), Level(level))
    assert words in verdict.reason


OPTIONAL_RATIO = st.none() | st.floats(0, 10)
OPTIONAL_TRUTH = st.none() | st.booleans()
ANY_CLUES = st.builds(
    Clues,
    memory=st.sampled_from(["host", "device", "standin"]),
    asked=st.sampled_from(["direct", "staged", "pipelined"]),
    across=OPTIONAL_TRUTH,
    possible=OPTIONAL_TRUTH,
    routes=st.lists(st.sampled_from([*DIRECT, *STAGED]), max_size=2).map(tuple),
    forbidden=OPTIONAL_RATIO,
    forbidden_apart=OPTIONAL_TRUTH,
    required=OPTIONAL_RATIO,
    required_apart=OPTIONAL_TRUTH,
    refused=st.none() | st.just("refused"),
    on_ports=OPTIONAL_RATIO,
    on_nvlink=OPTIONAL_RATIO,
    copied=OPTIONAL_RATIO,
    hog=OPTIONAL_RATIO,
    hog_apart=OPTIONAL_TRUTH,
    hog_shares_cores=st.booleans(),
    hog_control=st.booleans(),
)


@given(ANY_CLUES)
def test_direct_is_never_said_below_e3_nor_of_what_is_no_gpu_or_was_copied(clues):
    verdict = judge(clues)
    assert verdict.reason
    if verdict.path is ObservedPath.DIRECT:
        assert verdict.level >= Level.E3
        assert clues.memory == "device"
        assert clues.asked == "direct"
        assert not any(route == "staged" for route, _ in clues.routes)
        assert clues.refused is None


def test_root_sees_the_whole_configuration_space():
    """What the reader of ACS relies on, on a machine that has PCI devices."""
    configs = sorted(Path("/sys/bus/pci/devices").glob("*/config"))
    if os.geteuid() or not configs:
        pytest.skip("needs root and a PCI device")
    assert isinstance(read_acs(configs[0]), bool | str)


PING = """
from mpi4py import MPI
import numpy as np
world = MPI.COMM_WORLD
for size in (8, 4096, 2**20):
    data = np.zeros(size, np.uint8)
    for sender in (0, 1):
        (world.Send if world.rank == sender else world.Recv)(data, 1 - world.rank)
"""


@pytest.mark.mpi
def test_the_ucx_of_this_machine_is_understood():
    """Host memory through the UCX that comes with Open MPI: real words about another memory."""
    mpi = find_mpi()
    if mpi is None or mpi.family != "openmpi" or mpi.version[0] < 5:
        pytest.skip("needs Open MPI 5 with UCX")
    components = ("pml", "ucx"), ("opal_common_ucx_tls", "any"), ("opal_common_ucx_devices", "any")
    settings = [token for pair in components for token in ("--mca", *pair)]
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [mpi.mpirun, *root, "-n", "2", "--bind-to", "none", *settings, sys.executable, "-c", PING],
        env={**os.environ, "UCX_PROTO_INFO": "y", "UCX_LOG_LEVEL": "info"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.skip("the pml ucx does not start here")
    trace = ucx.parse_trace(done.stdout + done.stderr)
    assert trace.version
    assert "intra-node" in dict(trace.lanes)
    sizes = [line for line in trace.protocols if "intra-node" in line.endpoint]
    assert {line.memory for line in sizes} == {"host"}
    assert all(any(line.covers(size) for line in sizes) for size in (8, 4096, 2**20))
    assert any(line.most is None for line in sizes)
    assert ucx.routes(trace, 2**20, False) == ()
