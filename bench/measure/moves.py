"""Copies of whole buffers, and whether they arrived."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.contracts import (
    AxisSpec,
    Buffer,
    Checked,
    DeviceProduct,
    TimedCopies,
    Transfer,
)
from bench.core.records import Axis

DIRECTION = AxisSpec(
    name="direction",
    kind=str,
    default=("uni",),
    choices=("uni", "bi"),
    in_id=True,
    advice="one way, or both at once",
)
ENGINE = AxisSpec(
    name="engine",
    kind=str,
    default=("copy-engine",),
    choices=("copy-engine", "kernel"),
    advice="what copies: the driver's choice, which is an engine of its own where one can, or a "
    "kernel on all multiprocessors",
)
PATTERN = AxisSpec(
    name="pattern",
    kind=str,
    default=("pair",),
    choices=("pair", "one_to_all", "all_to_one"),
    in_id=True,
    advice="two, or one and several others: buffers of copy, GPUs of peer_copy",
)

DEVICE_EVENTS, NOT_HELD = "device events", "device events, not held"
"""Timing layers: without launches in the time, and with them."""


class Move(NamedTuple):
    """One copy of all bytes of a source."""

    target: Buffer
    source: Buffer
    gpu: int | None = None
    """The GPU that makes it; None for the rank's own."""
    through_host: bool = False
    """Whether it passes the host, between GPUs that do not reach each other."""

    def transfer(self) -> Transfer:
        """Return it by its addresses."""
        ends = self.target.address, self.source.address
        return Transfer(*ends, self.source.nbytes, self.gpu, self.through_host)


def describe_timing(timed: TimedCopies | DeviceProduct) -> dict[str, Axis]:
    """Return what a row's `params` tell of a device's own times."""
    return {} if timed.fixed_s is None else {"fixed_ns": round(timed.fixed_s * 1e9)}


def verify_moves(moves: Sequence[Move], run: Callable[[], None], seed: int) -> Checked:
    """Poison the targets, run every copy and compare what arrived with what each source held."""
    patterns = {id(move.source): 64 * seed + i for i, move in enumerate(moves)}
    for move in moves:
        move.source.fill(patterns[id(move.source)])
        move.target.poison(patterns[id(move.source)])
    run()
    wrong = sum(move.target.count_wrong(patterns[id(move.source)]) for move in moves)
    return Checked(sum(move.target.nbytes for move in moves), wrong)
