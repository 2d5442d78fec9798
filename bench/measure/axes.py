"""Axes that several benchmarks share."""

import msgspec
import numpy as np

from bench.contracts import AxisSpec
from bench.core.records import Axis, Case

MOST_BYTES = 2**31 - 1
"""One MPI call counts bytes in a C int."""

DTYPES: dict[str, type[np.float32] | type[np.float64]] = {
    "fp32": np.float32,
    "fp64": np.float64,
}
"""Types of numbers that NumPy and MPI compute with in host memory."""
MEMORY_KINDS = ("host", "pinned", "device", "standin")
DEVICE_KINDS = frozenset({"device", "standin"})
"""Memory that the host reaches by copies alone."""

STAGED_PATHS = frozenset({"staged", "pipelined"})
"""Paths on which our own program copies what a device holds, and MPI gets the copies."""

BYTES = AxisSpec(
    name="bytes",
    kind=int,
    default=(8,),
    least=1,
    most=MOST_BYTES,
    is_size=True,
    in_id=True,
    advice="size of one message",
)
MEMORY = AxisSpec(
    name="memory",
    kind=str,
    default=("host",),
    choices=MEMORY_KINDS,
    advice="where buffers lie; `standin` is host memory that is used as a device's",
)
DST_MEMORY = AxisSpec(
    name="dst_memory",
    kind=str,
    default=("same",),
    choices=("same", *MEMORY_KINDS),
    advice="where the buffers of the last rank lie",
)
PATH = AxisSpec(
    name="path",
    kind=str,
    default=("direct",),
    choices=("direct", "staged", "pipelined", "nccl"),
    advice="whether MPI gets the buffer's own address, or host copies of it, whole or in chunks; "
    "or NCCL carries it",
)
CHUNK = AxisSpec(
    name="chunk",
    kind=int,
    default=(2**19,),
    least=1,
    most=MOST_BYTES,
    is_size=True,
    advice="bytes copied at a time, of path pipelined",
)
NUMA = AxisSpec(
    name="numa",
    kind=int,
    default=(-1,),
    least=-1,
    most=1023,
    advice="NUMA node of buffers in host memory; -1 for where the rank runs",
)
ROUTE = (MEMORY, DST_MEMORY, PATH, CHUNK, NUMA)
"""Where messages begin and end, and what they pass through between."""
WINDOW = AxisSpec(
    name="window", kind=int, default=(64,), least=1, most=4096, advice="messages in flight"
)
BUFFERS = AxisSpec(
    name="buffers",
    kind=str,
    default=("own",),
    choices=("own", "shared"),
    advice="whether each message of a window has a buffer of its own, or all go from one into one",
)
WINDOWS = (WINDOW, BUFFERS)
"""Of what has several messages in flight."""
PAIR = AxisSpec(
    name="ranks",
    kind=int,
    default=(2,),
    least=2,
    most=1_000_000,
    advice="world size; two ranks are the pair, the others sleep",
)
BETWEEN = AxisSpec(
    name="between",
    kind=str,
    default=("ends",),
    choices=("ends", "neighbours"),
    advice="the pair: the first and the last rank, or the first two, which are on one host if any",
)
EACH = AxisSpec(
    name="ranks",
    kind=int,
    default=(1,),
    least=1,
    most=1_000_000,
    advice="world size; every rank does the same at once",
)

MEMBERS = AxisSpec(
    name="ranks",
    kind=int,
    default=(2,),
    least=2,
    most=1_000_000,
    advice="world size; every rank takes part",
)
THREADS = AxisSpec(
    name="threads",
    kind=int,
    default=(0,),
    least=0,
    most=4096,
    advice="BLAS threads of a rank; 0 shares out the cores of a node among its ranks",
)


def whole(case: Case, axis: str) -> int:
    """Return the value of an axis of whole numbers."""
    return msgspec.convert(case.axes[axis], int)


def word(case: Case, axis: str) -> str:
    """Return the value of an axis of words."""
    return msgspec.convert(case.axes[axis], str)


def shares_buffer(case: Case) -> bool:
    """Return whether all messages of a window go from one buffer into one."""
    return case.axes.get("buffers") == "shared"


def settle(axes: dict[str, Axis]) -> dict[str, Axis]:
    """Return the axes without those that mean nothing beside the others.

    So cases that are the same have the same id, and no row holds the chunk of an uncut message.
    """
    kept = dict(axes)
    if kept.get("path") != "pipelined":
        kept.pop("chunk", None)
    if kept.get("numa") == -1:
        del kept["numa"]
    if kept.get("dst_memory") in ("same", kept.get("memory")):
        kept.pop("dst_memory", None)
    if kept.get("load") == "burst":
        del kept["load"]
    if kept.get("buffers") == "own" or kept.get("window") == 1:
        kept.pop("buffers", None)
    return kept


def memory_key(case: Case, kind: str) -> str:
    """Return the name of a kind of memory on the case's NUMA node."""
    node = case.axes.get("numa")
    return kind if node is None or kind in DEVICE_KINDS else f"{kind}@{node}"


def four_digits(value: float) -> float:
    """Return a measured value as it stands in `params`."""
    return float(f"{value:.4g}")


def with_default(axis: AxisSpec, *values: Axis) -> AxisSpec:
    """Return the axis with other defaults."""
    return msgspec.structs.replace(axis, default=values)
