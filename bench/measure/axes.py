"""Axes that several benchmarks share."""

import msgspec

from bench.contracts import AxisSpec
from bench.record import Axis, Case

MOST_BYTES = 2**31 - 1
"""One MPI call counts bytes in a C int."""

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
    choices=("host", "device"),
    advice="where both buffers lie",
)
PATH = AxisSpec(
    name="path",
    kind=str,
    default=("direct",),
    choices=("direct", "staged"),
    advice="whether MPI gets the buffer's own address, or a host copy of it",
)
WINDOW = AxisSpec(
    name="window", kind=int, default=(64,), least=1, most=4096, advice="messages in flight"
)
PAIR = AxisSpec(
    name="ranks",
    kind=int,
    default=(2,),
    least=2,
    most=1_000_000,
    advice="world size; the first and the last rank are the pair, the others sleep",
)
EACH = AxisSpec(
    name="ranks",
    kind=int,
    default=(1,),
    least=1,
    most=1_000_000,
    advice="world size; every rank does the same at once",
)


def whole(case: Case, axis: str) -> int:
    """Return the value of an axis of whole numbers."""
    return msgspec.convert(case.axes[axis], int)


def word(case: Case, axis: str) -> str:
    """Return the value of an axis of words."""
    return msgspec.convert(case.axes[axis], str)


def with_default(axis: AxisSpec, *values: Axis) -> AxisSpec:
    """Return the axis with other defaults."""
    return msgspec.structs.replace(axis, default=values)
