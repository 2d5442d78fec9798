"""Where ranks with a GPU run: how they are started, what they open when, and who shares what."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_cuda import simulate
from test_measure import make_case
from test_mpi import by_case, run
from trees import numa_files, write_tree

from bench.core.gpu_cases import job_opens_gpu, opens_gpu
from bench.core.records import COLUMNS, Job, Row, Stage, Status, parse_params
from bench.judge.findings import row_findings
from bench.launch import Opening, find_launcher
from bench.launch.batch.pbs import PbsLauncher
from bench.launch.batch.slurm import SbatchLauncher, SrunLauncher
from bench.launch.site import Site
from bench.machine.mpi import MpiInstall
from bench.machine.near_gpu import move_near, near_cpus, numa_of_cpus, numa_of_device
from bench.measure import MEASUREMENTS
from bench.plan.plan import make_plan
from bench.plan.suite import load_suite
from bench.rank import gpu_uuid
from bench.rank.early_gpu import LOCAL_RANKS, check_number, find_local_rank, open_before_mpi
from bench.rank.gpu_seats import find_seats, gpu_ranks, seat_params
from bench.rank.memory import Locality, gpu
from bench.rank.memory.nccl import Nccl
from bench.rank.timing.layers import open_copy_queue
from bench.rank.world import SoloWorld

OPEN_MPI = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
MPICH = MpiInstall(family="mpich", name="MPICH", version=(5, 0, 2), mpirun="/m5/mpiexec")
HOST = make_case("latency", bytes=8)
DEVICE = make_case("latency", bytes=8, memory="device")
PINNED = make_case("copy", bytes=8, memory="pinned", dst_memory="device", ranks=2)

# How they are started.


def job(*cases) -> Job:
    return Job("000-target-0", Stage.TARGET, 0, 2, 1, cases)


def commands(asked: Job) -> dict[str, str]:
    """Return by launcher the line that starts the ranks of a job."""
    two = {"hosts": ("h1", "h2"), "host_cores": {"h1": 4, "h2": 4}}
    folder = Path("/shared")
    found = {
        f"mpirun {mpi.family} {len(more)}": find_launcher("mpirun")
        .open(Opening(mpi=mpi, cores=4, **more))
        .command(asked)
        .tokens
        for mpi in (OPEN_MPI, MPICH)
        for more in ({}, two)
    }
    lines = {name: " ".join(tokens) for name, tokens in found.items()}
    srun = SrunLauncher(OPEN_MPI, (), 2, "auto", Site())
    lines["srun"] = " ".join(srun.command(asked).tokens)
    for mpi in (OPEN_MPI, MPICH):
        lines[f"pbs {mpi.family}"] = PbsLauncher(mpi, (), 2, "auto", Site(), folder).script(asked)
    lines["sbatch"] = SbatchLauncher(OPEN_MPI, (), 2, "auto", Site(), folder).script(asked)
    return lines


def test_every_launcher_leaves_ranks_with_a_gpu_free_and_binds_others(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "8(x2)")
    for asked, free in ((job(HOST), False), (job(DEVICE), True), (job(HOST, PINNED), True)):
        for launcher, line in commands(asked).items():
            bound = "bind-to core" in line or "--cpu-bind=cores" in line
            unbound = "bind-to none" in line or "--cpu-bind=none" in line
            assert (bound, unbound) == (not free, free), launcher
            assert (" --gpu" in line) == free, launcher
    local = find_launcher("local").open(Opening())
    assert local.command(job(PINNED)).tokens[-2:] == ("--solo", "--gpu")
    assert "--gpu" not in local.command(job(HOST)).tokens


def test_a_plan_keeps_cases_with_a_gpu_in_jobs_of_their_own():
    for name in ("gpu", "full", "network", "three-posts"):
        for planned in make_plan(load_suite(name)).jobs:
            assert len({opens_gpu(case) for case in planned.cases}) == 1, (name, planned.id)
    assert any(map(job_opens_gpu, make_plan(load_suite("gpu")).jobs))


# What they open, and when.


class Driver:
    """The driver of a machine with some GPUs, which keeps what it was asked."""

    def __init__(self, gpus: int, fails: str = "") -> None:
        self.gpus, self.fails, self.asked = gpus, fails, []

    def __getattr__(self, name: str):
        def ask(*args) -> int:
            self.asked.append(name)
            if name == "cuDeviceGetCount":
                args[0]._obj.value = self.gpus
            if name == "cuDeviceGet":
                args[0]._obj.value = args[1]
            if name == "cuDeviceGetPCIBusId":
                args[0].value = f"10000:0{args[2].value}:00.0".upper().encode()
            return 100 if name == self.fails else 0

        return ask


def test_the_gpu_of_the_local_rank_is_opened_and_its_context_is_current():
    driver = Driver(gpus=4)
    opened = open_before_mpi((6, "MPI_LOCALRANKID"), lambda _: driver)
    assert opened is not None
    # A domain of more than four digits stays whole.
    assert (opened.number, opened.seen, opened.pci_address) == (2, 4, "10000:02:00.0")
    assert driver.asked[-2:] == ["cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]
    check_number(opened, 2)
    with pytest.raises(RuntimeError, match=r"MPI_LOCALRANKID .* GPU 3"):
        check_number(opened, 3)


def test_where_every_rank_sees_one_gpu_any_number_is_right():
    opened = open_before_mpi((0, "SLURM_LOCALID"), lambda _: Driver(gpus=1))
    assert opened is not None
    check_number(opened, 3)


def test_nothing_is_opened_where_there_is_no_gpu_or_no_number():
    def no_library(name: str):
        raise OSError(name)

    assert open_before_mpi((0, "x"), no_library) is None
    assert open_before_mpi((0, "x"), lambda _: Driver(gpus=0)) is None
    for fails in ("cuInit", "cuDeviceGetPCIBusId", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"):
        assert open_before_mpi((0, "x"), lambda _, f=fails: Driver(1, f)) is None
    assert open_before_mpi(None, lambda _: Driver(gpus=1)) is None
    assert find_local_rank({"HOME": "/"}) is None


def test_a_launcher_s_own_number_counts_before_that_of_the_batch_job_around_it():
    within = {"SLURM_LOCALID": "0"}
    assert find_local_rank(within) == (0, "SLURM_LOCALID")
    for name in LOCAL_RANKS[:-1]:
        assert find_local_rank({**within, name: "3"}) == (3, name)
    assert find_local_rank({"PMI_LOCAL_RANK": "-1"}) is None


class Hip:
    """The runtime of a machine with some AMD GPUs."""

    def __init__(self, gpus: int, fails: str = "") -> None:
        self.gpus, self.fails, self.asked = gpus, fails, []

    def __getattr__(self, name: str):
        def ask(*args) -> int:
            self.asked.append(name)
            if name == "hipGetDeviceCount":
                args[0]._obj.value = self.gpus
            if name == "hipDeviceGetPCIBusId":
                args[0].value = f"0000:0{args[2].value}:00.0".encode()
            return 100 if name == self.fails else 0

        return ask


def load_hip(library: Hip, there: str = "libamdhip64.so"):
    """Return what opens that library alone, under the name it has there."""

    def load(name: str) -> Hip:
        if name != there:
            raise OSError(name)
        return library

    return load


@pytest.mark.parametrize("there", ["libamdhip64.so", "libamdhip64.so.6"])
def test_an_amd_gpu_is_known_before_mpi_but_not_opened(there):
    library = Hip(gpus=4)
    found = open_before_mpi((6, "MPI_LOCALRANKID"), load_hip(library, there))
    assert found is not None
    assert (found.number, found.seen, found.pci_address) == (2, 4, "0000:02:00.0")
    assert library.asked == ["hipGetDeviceCount", "hipDeviceGetPCIBusId"]
    for gpus, fails in ((0, ""), (4, "hipGetDeviceCount"), (4, "hipDeviceGetPCIBusId")):
        assert open_before_mpi((6, "x"), load_hip(Hip(gpus, fails))) is None


DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) {
    char line[4096]; const char *mpi = "before", *numpy = "before";
    FILE *maps = fopen("/proc/self/maps", "r"), *log = fopen(getenv("PLAYED_LOG"), "a");
    while (fgets(line, sizeof line, maps)) {
        if (strstr(line, "/libmpi")) mpi = "after";
        if (strstr(line, "_multiarray_umath")) numpy = "after";
    }
    fprintf(log, "driver %s MPI %s NumPy\n", mpi, numpy);
    fclose(maps); fclose(log); return 0;
}
int cuDeviceGetCount(int *count) { *count = atoi(getenv("PLAYED_GPUS")); return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetPCIBusId(char *text, int length, int device) {
    snprintf(text, length, "0000:%02X:00.0", device); return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &device; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
"""
SUITE = """
[suite]
name = "played"
cap_s = 0.02
[[benchmark]]
name = "allreduce"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "latency"
bytes = "4 KiB"
"""


@pytest.mark.mpi
def test_a_real_job_opens_its_gpus_before_mpi_and_one_without_gpus_opens_none(tmp_path):
    """Two ranks share the one GPU that there is, which their NCCL was told to take."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, for libraries of the GPU's")
    runtime = "int cudaMemcpyAsync(void){return 0;}\nint cudaStreamSynchronize(void){return 0;}\n"
    for name, text in (("libcuda.so.1", DRIVER), ("libcudart.so.13", runtime)):
        (tmp_path / "library.c").write_text(text)
        command = ["cc", "-shared", "-fPIC", "-o", name, "library.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
    here = Path(__file__).parent
    log = tmp_path / "opened"
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(here / "played"), str(here.parent))),
        "LD_LIBRARY_PATH": str(tmp_path),
        "NCCL_MULTI_RANK_GPU_ENABLE": "1",
        "PLAYED_GPUS": "1",
        "PLAYED_LOG": str(log),
    }
    done = run(tmp_path, suite=SUITE, env=environ)
    # Two jobs of two ranks each: those without a GPU have loaded neither.
    lines = sorted(log.read_text().splitlines())
    assert lines == ["cupy after MPI"] * 2 + ["driver before MPI before NumPy"] * 2
    (by_gpu,) = (row for name, row in by_case(done).items() if "device" in name)
    assert by_gpu.status is Status.OK
    params = parse_params(by_gpu.params)
    assert params["shared_gpus"] == "1"
    assert "shared a GPU" in (by_gpu.bound_source or "")


class Cupy:
    """A CuPy of HIP, or of a GPU whose address is too long for it."""

    def __init__(self, hip: bool) -> None:
        self.cuda = self.runtime = self
        self.is_hip, self.flags = hip, []
        self.CUDARuntimeError = RuntimeError
        self.Stream = lambda **_: SimpleNamespace(ptr=7)
        self.Device = lambda number: number
        self.getDeviceCount = lambda: 1
        self.setDevice = lambda *_: None
        self.runtimeGetVersion = lambda: 12080
        self.getDeviceProperties = lambda *_: {
            "pciDomainID": 0x10001, "pciBusID": 0x3B, "pciDeviceID": 0,
        }  # fmt: skip

    def deviceGetPCIBusId(self, number: int) -> str:  # noqa: N802 - CuPy's name
        raise RuntimeError("cudaErrorInvalidValue: invalid argument")


class Library:
    """The runtime's shared library, which keeps how a rank is to wait."""

    def __init__(self) -> None:
        self.flags: list[int] = []
        plain = ctypes.CDLL(None)
        for name in ("hip", "cuda"):
            setattr(self, f"{name}MemcpyAsync", plain.memmove)
            setattr(self, f"{name}StreamSynchronize", plain.abs)

    def hipSetDeviceFlags(self, flags: int) -> int:  # noqa: N802 - HIP's name
        self.flags.append(flags)
        return 0


@pytest.mark.parametrize("hip", [True, False])
def test_a_gpu_far_out_on_the_bus_is_one_and_hip_waits_on_the_core(hip, monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "cupy", Cupy(hip))
    monkeypatch.setattr(gpu, "find_runtime", lambda *_: library)
    assert gpu.Gpu(0).pci_address == "10001:3b:00.0"
    assert library.flags == ([1] if hip else [])


def test_nccl_is_asked_for_of_the_cuda_that_cupy_has(monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "cupy", Cupy(hip=False))
    monkeypatch.setattr(gpu, "find_runtime", lambda *_: library)
    missing = SimpleNamespace(available=False)
    nccl = Nccl(lambda: gpu.Gpu(0), SoloWorld(), lambda *_: None, lambda: missing)
    assert "pip install nvidia-nccl-cu12" in nccl.lacks()


# Where they run.


def gpu_tree(root: Path, near: str, numa: int) -> Path:
    device = "sys/bus/pci/devices/0000:0a:00.0"
    tree = {f"{device}/local_cpulist": f"{near}\n", f"{device}/numa_node": f"{numa}\n"}
    return write_tree(root, tree | numa_files(0, "0-3", 1000) | numa_files(1, "4-7", 1000))


def affinity_after(address: str, root: Path) -> set[int]:
    """Return where a thread runs once it has moved near a GPU; this one stays where it is."""
    found: list[set[int]] = []

    def go() -> None:
        move_near(address, root)
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    return found[0]


def test_a_rank_moves_to_the_cpus_near_its_gpu_as_far_as_it_may_run_there(tmp_path):
    own = os.sched_getaffinity(0)
    one = max(own)
    assert affinity_after("00000000:0A:00.0", gpu_tree(tmp_path / "a", f"{one},1000", 0)) == {one}
    # Of what is near it may use none, or nobody knows what is near: it stays.
    assert affinity_after("0000:0a:00.0", gpu_tree(tmp_path / "b", "1000-1003", 0)) == own
    assert affinity_after("0000:0b:00.0", tmp_path / "b") == own
    assert os.sched_getaffinity(0) == own


def test_nodes_of_a_gpu_and_of_cpus_are_those_of_the_tree(tmp_path):
    root = gpu_tree(tmp_path, "4-7", 1)
    assert near_cpus(root, "0000:0A:00.0") == {4, 5, 6, 7}
    assert numa_of_device(root, "0000:0a:00.0") == 1
    assert numa_of_cpus(root, frozenset({4, 6})) == 1
    assert numa_of_cpus(root, frozenset({3, 4})) is None
    assert numa_of_device(gpu_tree(tmp_path / "vm", "0-7", -1), "0000:0a:00.0") is None


# Who shares what.


class Told(SoloWorld):
    """A rank of one node whose peers have told already what they see."""

    def __init__(self, told: list, nodes: tuple[int, ...]) -> None:
        self.told, self.nodes = told, nodes
        self.rank, self.size = len(told), len(nodes)

    def gather(self, value):
        self.told.append(value)
        return self.told


def seats(
    monkeypatch,
    gpus: int,
    nodes: tuple[int, ...],
    root: Path = Path("/none"),
    is_hip: bool = False,
    **each: str,
):
    """Return the seats of ranks on nodes that have some GPUs each; `each` are variables by rank."""
    simulate(monkeypatch, gpus=gpus, is_hip=is_hip)
    told: list = []
    for rank, node in enumerate(nodes):
        local = nodes[:rank].count(node)
        locality = Locality(open_copy_queue, local)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", each.get(f"r{rank}", ""))
        world = Told(told, nodes)
        found = find_seats(world, lambda of=locality: of.gpu, early=True, root=root)
    return found


@pytest.mark.parametrize(
    ("gpus", "nodes", "ranks", "shared"),
    [
        (1, (0, 0), [0, 1], 1),
        (2, (0, 0), [0, 1], None),
        # One GPU in each node, at the same address.
        (1, (0, 1), [0, 1], None),
        (2, (0, 0, 0, 0), [0, 1, 2, 3], 2),
        # Of four ranks the two that take part have their own.
        (2, (0, 0, 0, 0), [0, 3], None),
        (2, (0, 0, 0, 0), [0, 2], 1),
    ],
)
def test_rows_count_gpus_that_several_of_their_ranks_have(monkeypatch, gpus, nodes, ranks, shared):
    found = seats(monkeypatch, gpus, nodes)
    assert seat_params(DEVICE, found, ranks).get("shared_gpus") == shared
    assert seat_params(HOST, found, gpu_ranks(HOST, len(nodes))) == {}


def test_slices_of_a_gpu_are_no_shared_gpu_but_are_told(monkeypatch):
    found = seats(monkeypatch, 1, (0, 0), r0="MIG-a", r1="MIG-b")
    assert seat_params(DEVICE, found, [0, 1]) == {"gpu_slices": 1}
    found = seats(monkeypatch, 1, (0, 0), r0="MIG-a", r1="MIG-a,MIG-b")
    assert seat_params(DEVICE, found, [0, 1]) == {"shared_gpus": 1}


class Numbers:
    """A driver that numbers the GPU, or the slice, of each rank in turn."""

    def __init__(self, *numbers: bytes) -> None:
        self.left = [*numbers]

    def __getattr__(self, name: str):
        def ask(*args) -> int:
            if name in ("cuDeviceGetUuid_v2", "hipDeviceGetUuid"):
                args[0]._obj[:] = self.left.pop(0)
            return 0

        return ask


@pytest.mark.parametrize("is_hip", [False, True])
@pytest.mark.parametrize(
    ("second", "told"), [(b"GPU\0", {"shared_gpus": 1}), (b"GPU\1", {"gpu_slices": 1})]
)
def test_slices_that_no_variable_names_are_told_apart_by_all_bytes_of_their_numbers(
    is_hip, second, told, monkeypatch
):
    driver = Numbers(b"GPU\0".ljust(16), second.ljust(16))
    asked = []
    monkeypatch.setattr(gpu_uuid, "load_driver", lambda hip: asked.append(hip) or driver)
    found = seats(monkeypatch, 1, (0, 0), is_hip=is_hip)
    assert seat_params(DEVICE, found, [0, 1]) == told
    assert asked == [is_hip] * 2


def test_ranks_that_use_their_gpus_are_the_ends_that_lie_there():
    assert gpu_ranks(DEVICE, 4) == [0, 3]
    assert gpu_ranks(make_case("latency", bytes=8, memory="host", dst_memory="device"), 4) == [3]
    assert gpu_ranks(make_case("allreduce", bytes=8, memory="device", ranks=3), 3) == [0, 1, 2]


def test_a_row_says_which_numa_nodes_gpu_and_host_memory_are_of(monkeypatch, tmp_path):
    own = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    device = "sys/bus/pci/devices/0000:00:00.0"
    files = {f"{device}/numa_node": "1\n", f"{device}/local_cpulist": "1000\n"}
    root = write_tree(tmp_path, files | numa_files(0, own, 1000) | numa_files(1, "1000", 1000))
    found = seats(monkeypatch, 1, (0,), root)
    assert seat_params(PINNED, found, [0]) == {"gpu_numa": 1, "host_numa": 0, "far_from_gpu": 1}
    # Asked for, and so no trouble.
    far = make_case("copy", bytes=8, memory="pinned", dst_memory="device", numa=0)
    assert seat_params(far, found, [0]) == {"gpu_numa": 1, "host_numa": 0}
    # Inside a GPU nothing of the host counts.
    inside = make_case("copy", bytes=8, memory="device", dst_memory="device")
    assert seat_params(inside, found, [0]) == {"gpu_numa": 1}


def test_findings_count_rows_of_shared_and_of_far_gpus():
    rows = [
        Row(**{**dict.fromkeys(COLUMNS), "case": f"copy/{i}", "benchmark": "copy", "params": text})
        for i, text in enumerate(("shared_gpus=1", "far_from_gpu=2", "gpu_numa=0", None))
    ]
    found = {finding.name: finding.value for finding in row_findings(rows)}
    assert found == {"shared-gpu": 1, "far-from-gpu": 1}


def test_every_benchmark_in_device_memory_is_known_to_open_a_gpu():
    for name, measurement in MEASUREMENTS.items():
        axes = {axis.name: axis.choices for axis in measurement.axes}
        if "device" in axes.get("memory", ()):
            assert opens_gpu(make_case(name, memory="device")), name


def test_the_modules_before_mpi_load_no_numpy():
    program = (
        "import sys; import bench.rank.__main__;"
        "print('numpy' in sys.modules, 'cupy' in sys.modules, 'mpi4py' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]
