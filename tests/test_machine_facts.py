"""Facts of a node: stored trees give back what was written into them, this machine its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import (
    CONNECTX,
    DOWN_PORT,
    MI300X,
    NARROW_NIC,
    Tree,
    gpu_address,
    gpu_node,
    laptop,
    spoil,
    texts,
    vm,
    write_tree,
)

from bench.machine.cpu import Cache
from bench.machine.facts import NodeFacts, facts_hash, facts_table, gather_facts
from bench.machine.memory import NumaNode
from bench.machine.pci import PcieLink

KIB = 1024
GARBAGE = [b"", b"\n", b"-1\n", b"Unknown\n", b"\xff\xfe\x00\x01", b"garbage\n", b"\0" * 64]


@pytest.fixture
def node(tmp_path: Path) -> NodeFacts:
    return gather_facts(write_tree(tmp_path, gpu_node()))


def test_host_and_processors_of_the_gpu_node(node: NodeFacts) -> None:
    assert node.host == "gpu-node-01"
    assert node.system.os == "Ubuntu 24.04.1 LTS"
    assert node.system.kernel == "6.8.0-45-generic"
    assert node.system.hypervisor is None
    cpu = node.cpu
    assert (cpu.model, cpu.architecture) == ("AMD EPYC 9554 64-Core Processor", "x86_64")
    assert (cpu.sockets, cpu.cores, cpu.logical) == (2, 16, 32)
    assert (cpu.usable, cpu.usable_cores, cpu.usable_list) == (32, 16, "0-31")
    assert (cpu.smt, cpu.governors, cpu.quota_cores) == ("on", ("performance",), None)
    assert (cpu.mhz_min, cpu.mhz_max) == (1500, 3100)
    assert cpu.simd == ("avx", "avx2", "fma", "avx512f")
    assert cpu.caches == (
        Cache("L1d", 32 * KIB, 16),
        Cache("L2", 1024 * KIB, 16),
        Cache("L3", 32768 * KIB, 2),
    )


def test_memory_of_the_gpu_node(node: NodeFacts) -> None:
    assert node.memory.total == 1_056_000_000 * KIB
    assert node.memory.available == 1_000_000_000 * KIB
    assert node.numa == (
        NumaNode(node=0, cpus="0-7,16-23", memory=528_000_000 * KIB),
        NumaNode(node=1, cpus="8-15,24-31", memory=528_000_000 * KIB),
    )


def test_gpus_of_the_gpu_node(node: NodeFacts) -> None:
    assert [gpu.pci_address for gpu in node.gpus] == [gpu_address(slot) for slot in range(8)]
    assert {gpu.model for gpu in node.gpus} == {MI300X}
    assert [gpu.numa_node for gpu in node.gpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len({gpu.uuid for gpu in node.gpus}) == 8
    assert {gpu.pcie for gpu in node.gpus} == {PcieLink(5, 16, 5, 16)}
    assert {gpu.memory for gpu in node.gpus} == {192 * 2**30}
    assert {gpu.driver for gpu in node.gpus} == {"6.8.5"}
    # What amdgpu's files do not tell stays unknown.
    assert {(gpu.ecc, gpu.mig, gpu.nvlinks, gpu.throttle) for gpu in node.gpus} == {
        (None, None, None, None)
    }


def test_network_cards_of_the_gpu_node(node: NodeFacts) -> None:
    assert [nic.name for nic in node.nics] == [f"ibp{slot}" for slot in range(8)]
    assert [device.name for device in node.rdma] == [f"mlx5_{slot}" for slot in range(8)]
    for slot, (nic, device) in enumerate(zip(node.nics, node.rdma, strict=True)):
        assert nic.pci is not None
        assert nic.pci == device.pci
        assert (nic.pci.name, nic.pci.id) == (CONNECTX, "15b3:1021")
        assert nic.pci.numa_node == slot // 4
        assert nic.pci.link == PcieLink(5, 8 if slot == NARROW_NIC else 16, 5, 16)
        assert (nic.driver, nic.firmware, nic.mtu) == ("mlx5_core", "28.39.1002", 4092)
        assert (device.hca_type, device.firmware) == ("MT4129", "28.39.1002")
        (port,) = device.ports
        if slot == DOWN_PORT:
            assert (nic.state, nic.speed_mbit_per_s) == ("down", None)
            assert (port.state, port.physical, port.rate_gbit_per_s) == ("DOWN", "Disabled", None)
        else:
            assert (nic.state, nic.speed_mbit_per_s) == ("up", 400_000)
            assert (port.state, port.physical, port.rate_gbit_per_s) == ("ACTIVE", "LinkUp", 400)


def test_a_laptop_with_two_kinds_of_core(tmp_path: Path) -> None:
    facts = gather_facts(write_tree(tmp_path, laptop()))
    cpu = facts.cpu
    assert (cpu.sockets, cpu.cores, cpu.logical) == (1, 6, 8)
    assert (cpu.governors, cpu.mhz_min, cpu.mhz_max) == (("powersave",), 400, 4400)
    assert cpu.caches == (
        Cache("L1d", 32 * KIB, 4),
        Cache("L1d", 48 * KIB, 2),
        Cache("L2", 1280 * KIB, 3),
        Cache("L3", 12288 * KIB, 1),
    )
    cable, wireless = facts.nics
    assert (cable.name, cable.state, cable.speed_mbit_per_s) == ("enp0s31f6", "down", None)
    assert (wireless.name, wireless.state, wireless.speed_mbit_per_s) == ("wlp0s20f3", "up", None)
    assert wireless.pci is not None
    assert (wireless.pci.link, wireless.pci.numa_node, wireless.pci.name) == (None, None, None)
    assert facts.gpus == facts.rdma == facts.silent_gpus == ()


def test_a_virtual_machine_in_a_container(tmp_path: Path) -> None:
    facts = gather_facts(write_tree(tmp_path, vm()))
    assert facts.system.hypervisor == "QEMU Standard PC (Q35 + ICH9, 2009)"
    assert facts.system.container == "kubernetes"
    cpu = facts.cpu
    assert (cpu.cores, cpu.logical, cpu.smt) == (2, 2, None)
    assert (cpu.governors, cpu.mhz_min, cpu.mhz_max, cpu.caches) == ((), None, None, ())
    assert cpu.quota_cores == 1.5  # of the level above, the tighter one
    assert facts.memory.limit == 4 * 2**30
    assert facts.numa == ()
    (nic,) = facts.nics
    assert nic.pci is not None
    assert (nic.pci.address, nic.pci.id, nic.driver) == ("0000:00:03.0", "1af4:1041", "virtio_net")


def test_a_narrower_affinity_counts_the_cores_it_touches(tmp_path: Path) -> None:
    tree = gpu_node()
    # Two threads of core 0, one of core 1, and a CPU that is not online.
    tree["proc/self/status"] = "Cpus_allowed_list:\t0-1,16,99\n"
    cpu = gather_facts(write_tree(tmp_path, tree)).cpu
    assert (cpu.usable, cpu.usable_cores, cpu.usable_list) == (3, 2, "0-1,16")


def test_one_cpu_that_does_not_say_where_it_belongs_makes_the_counts_unknown(
    tmp_path: Path,
) -> None:
    tree = gpu_node()
    del tree["sys/devices/system/cpu/cpu7/topology/thread_siblings_list"]
    tree["sys/devices/system/cpu/cpu7/topology/physical_package_id"] = "-1\n"
    cpu = gather_facts(write_tree(tmp_path, tree)).cpu
    assert (cpu.cores, cpu.sockets, cpu.logical) == (None, None, 32)


def test_virtual_interfaces_are_named_where_there_are_no_others(tmp_path: Path) -> None:
    tree: Tree = {
        "sys/class/net/lo/operstate": "unknown\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/eth0/speed": "4294967295\n",  # -1 of an old kernel
    }
    (nic,) = gather_facts(write_tree(tmp_path, tree)).nics
    assert (nic.name, nic.pci, nic.state, nic.speed_mbit_per_s) == ("eth0", None, "up", None)


def test_an_arm_processor_is_named_by_its_part(tmp_path: Path) -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd sve sve2\nCPU implementer\t: {}\nCPU part\t: {}\n"
    known = write_tree(tmp_path / "a", {"proc/cpuinfo": text.format("0x41", "0xd4f")})
    other = write_tree(tmp_path / "b", {"proc/cpuinfo": text.format("0x99", "0x001")})
    assert gather_facts(known).cpu.model == "Arm Neoverse-V2"
    assert gather_facts(known).cpu.simd == ("asimd", "sve", "sve2")
    assert gather_facts(other).cpu.model == "implementer 0x99, part 0x001"


def facts_of_files(facts: NodeFacts) -> NodeFacts:
    """Return what came from the tree: without packages, BLAS and environment of this process."""
    return msgspec.structs.replace(
        facts,
        blas=None,
        packages={},
        libraries={},
        environment={},
        numa=(),
        nics=(),
        rdma=(),
        clock_s=None,
    )


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_every_file_is_unknown_never_zero(tmp_path: Path, content: bytes) -> None:
    facts = gather_facts(write_tree(tmp_path, spoil(gpu_node(), content)))
    # A name can be any word; a number, a list or a link cannot.
    assert {facts.host, facts.system.kernel} <= {None, "garbage", "-1"}
    assert facts.cpu == msgspec.structs.replace(
        NodeFacts().cpu, architecture=facts.cpu.architecture, governors=facts.cpu.governors
    )
    assert facts.memory == NodeFacts().memory
    assert facts.gpus == ()
    assert all((node.cpus or None, node.memory) == (None, None) for node in facts.numa)
    for nic in facts.nics:
        assert (nic.speed_mbit_per_s, nic.mtu) == (None, None)
        assert nic.pci is not None
        assert (nic.pci.id, nic.pci.link, nic.pci.numa_node) == (None, None, None)
    for device in facts.rdma:
        (port,) = device.ports
        assert (port.state, port.physical, port.rate_gbit_per_s) == (None, None, None)
    json.dumps(msgspec.to_builtins(facts))


def test_folders_in_the_place_of_files_are_unknown(tmp_path: Path) -> None:
    for name in texts(gpu_node()):
        (tmp_path / name).mkdir(parents=True)
    assert facts_of_files(gather_facts(tmp_path)) == NodeFacts()


def test_an_empty_tree_is_unknown(tmp_path: Path) -> None:
    facts = gather_facts(tmp_path)
    assert facts_of_files(facts) == NodeFacts()
    assert (facts.nics, facts.rdma, facts.numa) == ((), (), ())
    assert dict(facts_table(facts))["CPU"] == "unknown, architecture unknown"


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(texts(vm() | laptop()))), st.binary(max_size=40), max_size=20
    )
)
def test_no_content_breaks_facts_table_or_hash(
    tmp_path_factory: pytest.TempPathFactory, spoiled: dict[str, bytes]
) -> None:
    root = write_tree(tmp_path_factory.mktemp("tree"), vm() | laptop() | spoiled)
    facts = gather_facts(root)
    assert msgspec.convert(json.loads(msgspec.json.encode(facts)), NodeFacts) == facts
    assert facts_hash(facts)
    assert all(label.isprintable() and value.isprintable() for label, value in facts_table(facts))
    shutil.rmtree(root)


def test_the_table_says_what_is_known_in_units(node: NodeFacts) -> None:
    table = dict(facts_table(node))
    assert table["Host"] == "gpu-node-01"
    assert table["Cores"] == "2 sockets, 16 cores, 32 logical CPUs, SMT on"
    assert table["Caches"] == "L1d 32 KiB x 16, L2 1 MiB x 16, L3 32 MiB x 2"
    assert table["Frequency"] == "1.50 GHz to 3.10 GHz"
    assert table["Memory"] == "1007 GiB, 954 GiB available"
    assert table["NUMA 1"] == "CPUs 8-15,24-31, 504 GiB"
    assert "PCIe gen 5 x16, NUMA 1" in table["amd GPU 7"]
    assert "PCIe gen 5 x8 (could be gen 5 x16)" in table[f"NIC ibp{NARROW_NIC}"]
    assert f"{CONNECTX}, PCIe gen 5 x16, NUMA 0, link up, 400 Gbit/s" in table["NIC ibp0"]
    assert "port 1 DOWN at unknown rate InfiniBand" in table[f"RDMA mlx5_{DOWN_PORT}"]


def test_hostile_names_are_escaped_in_the_table(tmp_path: Path) -> None:
    tree = vm()
    tree["etc/os-release"] = 'PRETTY_NAME="\x1b[31mred\x07"\n'
    table = facts_table(gather_facts(write_tree(tmp_path, tree)))
    assert all(value.isprintable() for _, value in table)
    assert "\\x1b[31mred" in dict(table)["System"]


def test_the_hash_leaves_out_what_changes_from_second_to_second(node: NodeFacts) -> None:
    gpu = node.gpus[0]
    later = msgspec.structs.replace(
        node,
        host="other",
        memory=msgspec.structs.replace(node.memory, available=5),
        gpus=(
            msgspec.structs.replace(
                gpu,
                sm_mhz_now=345,
                memory_mhz_now=100,
                throttle=("idle",),
                pcie=PcieLink(1, 16, 5, 16),
            ),
            *node.gpus[1:],
        ),
        environment={**node.environment, "SLURM_JOB_ID": "4711"},
    )
    assert facts_hash(later) == facts_hash(node)


def test_the_hash_notices_what_lasts(node: NodeFacts) -> None:
    gpu, nic = node.gpus[0], node.nics[0]
    changes = [
        {"memory": msgspec.structs.replace(node.memory, total=5)},
        {"gpus": (msgspec.structs.replace(gpu, pcie=PcieLink(5, 8, 5, 16)), *node.gpus[1:])},
        {"gpus": (msgspec.structs.replace(gpu, driver="7"), *node.gpus[1:])},
        {"nics": (msgspec.structs.replace(nic, firmware="28.42.1000"), *node.nics[1:])},
        {"environment": {"UCX_TLS": "tcp"}},
        {"packages": {"numpy": "1"}},
    ]
    hashes = {facts_hash(msgspec.structs.replace(node, **change)) for change in changes}
    assert len(hashes | {facts_hash(node)}) == len(changes) + 1


def test_the_hash_is_the_same_in_another_process(tmp_path: Path) -> None:
    root = write_tree(tmp_path, laptop())
    code = (
        "import sys; from pathlib import Path; from bench.machine.facts import *; "
        "print(facts_hash(gather_facts(Path(sys.argv[1]))))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(root)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            timeout=600,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_importing_facts_and_doctor_stays_light() -> None:
    heavy = ("numpy", "numba", "mpi4py", "pynvml", "pandas", "threadpoolctl", "cupy", "psutil")
    code = (
        "import sys; import bench.machine.doctor, bench.machine.facts, bench.machine.mpi; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("lscpu") is None, reason="no lscpu")
def test_processors_of_this_machine_agree_with_lscpu() -> None:
    answer = subprocess.run(
        ["lscpu", "-J"],
        capture_output=True,
        check=True,
        timeout=600,
        env={**os.environ, "LC_ALL": "C"},
    )
    fields: dict[str, str] = {}

    def collect(entries: list[dict[str, object]]) -> None:
        for entry in entries:
            fields.setdefault(str(entry["field"]).rstrip(":"), str(entry["data"]))
            children = entry.get("children")
            if isinstance(children, list):
                collect(children)

    collect(json.loads(answer.stdout)["lscpu"])
    cpu = gather_facts().cpu
    assert cpu.architecture == fields["Architecture"]
    assert cpu.logical == len(range(int(fields["CPU(s)"])))
    if fields.get("Socket(s)", "-") != "-" and cpu.sockets is not None:
        assert cpu.sockets == int(fields["Socket(s)"])
        assert cpu.cores == cpu.sockets * int(fields["Core(s) per socket"])
    if "x86" in fields["Architecture"]:
        assert cpu.model == fields["Model name"]
        assert set(cpu.simd) <= set(fields["Flags"].split())
    for name, field in (("L1d", "L1d cache"), ("L2", "L2 cache"), ("L3", "L3 cache")):
        match = re.fullmatch(r"([\d.]+) ([KMG]iB) \((\d+) instances?\)", fields.get(field, ""))
        if match:
            own = [cache for cache in cpu.caches if cache.name == name]
            unit = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[match[2]]
            total = sum(cache.bytes * cache.instances for cache in own)
            assert sum(cache.instances for cache in own) == int(match[3])
            assert total == pytest.approx(float(match[1]) * unit, rel=0.06)  # lscpu rounds


@pytest.mark.skipif(shutil.which("nproc") is None, reason="no nproc")
def test_usable_processors_of_this_machine_agree_with_nproc() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    answer = subprocess.run(
        ["nproc"], capture_output=True, check=True, timeout=600, env=environment
    )
    assert gather_facts().cpu.usable == int(answer.stdout)


def test_memory_of_this_machine_agrees_with_the_kernel() -> None:
    lines = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
    facts = gather_facts()
    assert facts.memory.total == int(lines["MemTotal"]) * KIB
    assert facts.memory.available == pytest.approx(int(lines["MemAvailable"]) * KIB, rel=0.2)
    assert facts.host == os.uname().nodename
    assert facts.system.kernel == os.uname().release
    assert facts.blas is not None
    assert facts.blas.threads
