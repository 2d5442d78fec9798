"""An exception of one case: its row fails with it, and the job goes on.

Ranks that send each other nothing, and a rank alone, agree on it where they would have agreed
anyway. In the midst of messages they cannot: others wait for a rank that has raised, so that there
the job ends.
"""

import gc
import sys
import traceback

from bench.contracts import Checked, Context, Operation, Seconds
from bench.core.errors import printable
from bench.rank.lease import AbandonedError

_MOST_REASON = 300
_STAND_IN_S = 1.0
"""Time of an operation that is not run any more; long, so that few samples are taken of it."""
_STEPS = (
    ("CUBLAS_STATUS_ALLOC_FAILED", "free memory of the GPU: `nvidia-smi` names who holds it"),
    ("MemoryAllocation", "free memory of the GPU: `nvidia-smi` names who holds it"),
    ("CUBLASError", "this GPU or its cuBLAS has no such product: leave the case out"),
    ("CompileException", "look that CuPy and the driver are of one CUDA version, and at CUDA_PATH"),
    ("ImportError", "install the library that it names, or put its folder on LD_LIBRARY_PATH"),
    ("CUDARuntimeError", "run it alone with CUDA_LAUNCH_BLOCKING=1, and look for Xid in `dmesg`"),
)  # fmt: skip
_OTHERWISE = "where it was raised stands in the log of the job"


class StoppedError(Exception):
    """Sampling ends: its operation has raised."""


class DeviceLostError(RuntimeError):
    """After an error of a case the GPU answers nothing any more in this process."""


class Tried:
    """An operation whose first exception is kept, after which it is not run again.

    Args:
        keeps: whether the ranks can go on; else exceptions pass.
        alone: whether no other rank takes part, so that sampling can end at once.
    """

    def __init__(self, operation: Operation, context: Context, keeps: bool, alone: bool) -> None:
        self._operation, self._context = operation, context
        self._keeps, self._alone = keeps, alone
        self.error: str | None = None
        """Why the row fails."""

    def verify(self, seed: int) -> Checked:
        """Verify, or return that nothing was checked."""
        if self.error is None:
            try:
                return self._operation.verify(seed)
            except Exception as error:  # noqa: BLE001 - of any library below
                self._keep(error)
        return Checked(0, 0)

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds`, with a stand-in where others still sample.

        Raises:
            StoppedError: on a rank alone.
        """
        if self.error is None:
            try:
                self._operation.run(seconds, loops)
                return
            except Exception as error:  # noqa: BLE001 - of any library below
                self._keep(error)
        if self._alone:
            raise StoppedError
        seconds.fill(_STAND_IN_S)

    def _keep(self, error: Exception) -> None:
        if not self._keeps:
            raise error
        self.error = explain_failure(error, self._context)


def explain_failure(error: Exception, context: Context) -> str:
    """Return an exception of a case as the reason of its row: its name, and the next step.

    Raises:
        DeviceLostError: where the GPU cannot be used any more by this process.
        AbandonedError: if that is the exception.
    """
    if isinstance(error, AbandonedError):
        raise error
    traceback.print_exception(error)
    sys.stderr.flush()
    text = printable(f"{type(error).__name__}: {error}".rstrip(": "), _MOST_REASON)
    # Frames of the traceback hold buffers, and ranks run with the collector off.
    error.__traceback__ = None
    gc.collect()
    lost = context.memories.find_lost()
    if lost is not None:
        raise DeviceLostError(f"{text}; after it the GPU answers {printable(lost, _MOST_REASON)}")
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    step = next((step for word, step in _STEPS if word in f"{names} {error}"), _OTHERWISE)
    return f"rank {context.communicator.rank}: {text}; {step}"
