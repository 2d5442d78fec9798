"""An exception of one case fails its row, not the job; a GPU that is lost ends the process."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from meeting import Meeting, World
from simulated_cuda import CudaError, Simulated, simulate
from test_measure import make_case

from bench.contracts import Checked, Context
from bench.core.events import CaseEnded, PlaceEnded
from bench.core.records import Axis, Case, Job, Sampling, Stage, Status
from bench.measure.matmul import Matmul
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.job import execute_job
from bench.rank.lease import AbandonedError
from bench.rank.memory.stream_timer import WARMUPS
from bench.rank.trouble import DeviceLostError, explain_failure
from bench.rank.world import SoloWorld

RULE = Sampling(cap_s=0.002, warmup_s=0.0, warmup_cap_s=0.001)
ROWS = (16, 24, 32)
"""Batches of three cases; the middle one raises."""


class CUBLASError(RuntimeError):
    """As CuPy's."""


class CompileException(Exception):  # noqa: N818 - the name is CuPy's
    """As CuPy's."""


ERRORS = [
    (CudaError(2, "cudaErrorMemoryAllocation: out of memory"), "nvidia-smi"),
    (CUBLASError("CUBLAS_STATUS_NOT_SUPPORTED"), "leave the case out"),
    (CUBLASError("CUBLAS_STATUS_ALLOC_FAILED"), "nvidia-smi"),
    (CompileException("nvrtc: error: failed to open libnvrtc-builtins"), "CUDA_PATH"),
    (ImportError("libcublas.so.12: cannot open shared object file"), "LD_LIBRARY_PATH"),
    (RuntimeError("work could not be queued on the GPU while its stream was held"), "log"),
]


VERIFIED = WARMUPS + 1
"""Products that are queued to verify one."""
PREPARED = 2
"""To prepare: each set of matrices, and a rehearsal."""


def product(batch: int, **axes: Axis) -> Case:
    return make_case("matmul", batch=batch, k=16, n=16, memory="device", **axes)


def raise_in_products(
    monkeypatch: pytest.MonkeyPatch, machine: Simulated, error: Exception, after: int
) -> None:
    """Have products of the middle case raise, once so many of them were queued."""
    right, queued = machine.cublas.gemmEx, [0]

    def multiply(handle: int, *shape: Any) -> None:
        if shape[3] == ROWS[1]:
            queued[0] += 1
            if queued[0] > after:
                raise error
        right(handle, *shape)

    monkeypatch.setattr(machine.cublas, "gemmEx", multiply)


def execute(context: Context) -> list[CaseEnded]:
    job = Job("j", Stage.TARGET, 0, 1, 1, tuple(map(product, ROWS)), RULE)
    events = list(execute_job(job, SoloWorld(), context))
    return [event for event in events if isinstance(event, CaseEnded)]


@pytest.mark.parametrize(
    ("error", "step", "after"),
    # As it is prepared; as it is verified and sampled.
    [*((*each, 0) for each in ERRORS), (*ERRORS[0], PREPARED), (*ERRORS[0], PREPARED + VERIFIED)],
)
def test_an_error_of_a_library_fails_its_row_and_the_next_case_is_measured(
    error, step, after, monkeypatch
):
    machine = simulate(monkeypatch, gpus=1)
    monkeypatch.setattr("simulated_cuda.cublas.FLOP_RATE", 3e6)  # so that few are timed
    raise_in_products(monkeypatch, machine, error, after)
    ended = execute(open_context(SoloWorld(), 1))
    assert [each.status for each in ended] == [Status.OK, Status.FAILED, Status.OK]
    (place,) = ended[1].places
    for reason in (ended[1].reason, place.reason):
        assert reason is not None
        assert type(error).__name__ in reason
        assert str(error) in reason
        assert step in reason
        assert reason.isprintable()


def test_an_error_before_a_case_is_prepared_fails_its_row_too(monkeypatch):
    machine = simulate(monkeypatch, gpus=1)

    def refuse(_number: int) -> None:
        raise CudaError(1, "cudaErrorInvalidValue: invalid argument")

    context = open_context(SoloWorld(), 1)
    monkeypatch.setattr(machine.runtime, "getDeviceProperties", refuse)
    *_, ended = execute_case(product(8), RULE, SoloWorld(), context)
    assert ended.status is Status.FAILED
    assert "cudaErrorInvalidValue" in ended.reason


def test_a_gpu_that_answers_nothing_any_more_ends_the_process(monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    sticky = CudaError(700, "cudaErrorIllegalAddress: an illegal memory access was encountered")
    context = open_context(SoloWorld(), 1)
    raise_in_products(monkeypatch, machine, sticky, 1)
    right = machine.cublas.gemmEx

    def synchronize() -> None:
        raise sticky

    def multiply(handle: int, *shape: Any) -> None:
        try:
            right(handle, *shape)
        except CudaError:
            monkeypatch.setattr(machine.runtime, "deviceSynchronize", synchronize)
            raise

    monkeypatch.setattr(machine.cublas, "gemmEx", multiply)
    with pytest.raises(RuntimeError, match=r"after it the GPU answers .*IllegalAddress"):
        execute(context)


def test_another_gpu_of_the_process_that_answers_nothing_is_found_too(monkeypatch):
    machine = simulate(monkeypatch, gpus=3)
    context = open_context(SoloWorld(), 1)
    assert context.memories["device"].lacks_gpus(3) is None
    assert context.memories.find_lost() is None
    right = machine.runtime.deviceSynchronize

    def synchronize() -> None:
        if machine.current == 2:
            raise CudaError(700, "cudaErrorIllegalAddress")
        right()

    monkeypatch.setattr(machine.runtime, "deviceSynchronize", synchronize)
    with pytest.raises(DeviceLostError, match=r"answers cudaErrorIllegalAddress \(GPU 2\)"):
        explain_failure(CudaError(700, "a copy failed"), context)
    assert machine.current == 0


class Raising:
    """Raises on some rank, after so many calls."""

    idle = False
    timing_layer = "told"
    overhead_s = None

    def __init__(self, error: Exception | None, after: int) -> None:
        self.error, self.left = error, after
        self.params: dict[str, Axis] = {}

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0 and self.error is not None:
            raise self.error

    def run(self, seconds: Any, loops: int) -> None:
        self._count()
        seconds[:] = 1e-3

    def verify(self, seed: int) -> Checked:
        self._count()
        return Checked(10, 0)


def carry_out(prepare: Callable[[int], Raising], monkeypatch: pytest.MonkeyPatch) -> CaseEnded:
    """Return how a case ended of two nodes with two ranks each."""
    monkeypatch.setattr(
        Matmul, "prepare", lambda _self, _case, here: prepare(here.communicator.rank)
    )
    nodes = (0, 0, 1, 1)
    meeting, context = Meeting(4), open_context(SoloWorld(), 1)
    case = make_case("matmul", batch=4, k=8, n=8, ranks=4)

    def work(rank: int) -> list[Any]:
        world = World(meeting, rank, nodes)
        here = msgspec.structs.replace(
            context, communicator=world, host=f"n{nodes[rank]}", turns=()
        )
        return list(execute_case(case, RULE, world, here))

    ended: CaseEnded = meeting.all_do(work)[0][-1]
    return ended


@pytest.mark.parametrize("after", [0, 1, 3, 10**6])
def test_ranks_of_a_node_agree_on_the_error_of_one_and_other_nodes_measure(after, monkeypatch):
    error = RuntimeError("it broke")
    ended = carry_out(lambda rank: Raising(error if rank == 1 else None, after), monkeypatch)
    places: tuple[PlaceEnded, ...] = ended.places
    broke = after < 10**6
    assert [place.status for place in places] == [Status.FAILED if broke else Status.OK, Status.OK]
    if broke:
        assert (places[0].reason or "").startswith("rank 1: RuntimeError: it broke")


def test_a_job_that_was_given_up_is_no_case_that_failed(monkeypatch):
    monkeypatch.setattr(
        Matmul, "prepare", lambda *_: Raising(AbandonedError("its job file is gone"), 0)
    )
    case = make_case("matmul", batch=4, k=8, n=8)
    with pytest.raises(AbandonedError):
        list(execute_case(case, RULE, SoloWorld(), open_context(SoloWorld(), 1)))
