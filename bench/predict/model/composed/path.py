"""What a message costs on a class of path, alone and beside others that share its link.

T = alpha + k m / min(R_N, k R_1): k senders of a node are held back by themselves (R_1) until the
link of their node is full (R_N) (Gropp, Olson and Samfass, EuroMPI 2016). For alpha stands what the
measured curve takes beyond m / R_1, so that one sender takes what was measured, at every size.
"""

import math

import msgspec
import numpy as np

from bench.core.units import format_rate
from bench.predict.model.interpolation import Interpolation, join_sizes

BEYOND_BOUND = 1.02
"""A rate that much above the hardware's shows that something else was measured."""
LEAST_MOVING = 0.1
"""Share of the largest message's time that must grow with its size, or there is no rate to find."""


LEAST_LINE, MOST_LINE = 3, 5
"""Largest messages that give the rate: a line through two has no scatter to see."""


class SendersPoint(msgspec.Struct, frozen=True):
    """The time of a message while so many ranks of a node send one each."""

    senders: int
    size: float
    seconds: float


class MessagePath(msgspec.Struct, frozen=True):
    """A class of path: between ranks of one node, or across nodes."""

    curve: Interpolation
    """Seconds of one message by its size."""
    own_rate: float
    """Bytes per second of one sender of large messages."""
    shared_rate: float
    """Bytes per second of all senders of a node together."""

    def seconds(self, size: float, senders: int = 1) -> float:
        """Return the time until `senders` messages of `size` bytes each have arrived."""
        if not size or not senders:
            return 0.0
        alone_s = self.curve.seconds(size)
        latency_s = max(0.0, alone_s - size / self.own_rate)
        return max(alone_s, latency_s + senders * size / self.shared_rate)


def fit_path(
    sizes: list[float], seconds: list[float], together: SendersPoint | None = None
) -> MessagePath:
    """Join the measured messages; without a point of several senders one is taken to fill the link.

    Args:
        sizes: bytes, rising, at least two.
        seconds: of one message, one way.
        together: one measurement of several senders.

    Raises:
        ValueError: where there are fewer than two points, or where messages are too small for
            their time to give a rate.
    """
    curve = join_sizes(sizes, seconds)
    s_per_byte = _slope(curve)
    if s_per_byte * sizes[-1] < LEAST_MOVING * seconds[-1]:
        raise ValueError("the largest messages hardly take longer than smaller ones: no rate")
    own_rate = 1 / s_per_byte
    alone = MessagePath(curve, own_rate, own_rate)
    if together is None:
        return alone
    latency_s = max(0.0, curve.seconds(together.size) - together.size / own_rate)
    moving_s = together.seconds - latency_s
    if moving_s <= 0:
        raise ValueError(f"{together.senders} senders took less than the latency of one")
    shared = together.senders * together.size / moving_s
    # More than they can send cannot be seen: then the link is wider than this point shows.
    return MessagePath(curve, own_rate, min(shared, together.senders * own_rate))


def _slope(curve: Interpolation) -> float:
    """Return seconds per byte of the largest messages.

    A segment's latency is kept from going below 0, which tilts it where a link lets the first bytes
    of a message pass at once; a line that may go below does not care.
    """
    last = curve.explained.segments[-1]
    points = [(m, t) for m, t in zip(curve.sizes, curve.points_s, strict=True) if m > last.low]
    if len(points) < LEAST_LINE:
        return last.s_per_byte
    m, t = np.array(points[-MOST_LINE:]).T
    slope = float(np.polyfit(m, t, 1, w=1 / t)[0])
    return slope if slope > 0 else last.s_per_byte


def alarms(path: MessagePath, fastest: float | None = None) -> list[str]:
    """Return what no link can be, in words: each is something to look into, not a fit.

    Args:
        path: as fitted.
        fastest: bytes per second that the hardware allows in one direction, where known.
    """
    found = []
    for segment in path.curve.explained.segments:
        # A fit is kept from going below 0, so one that wants to ends there.
        if segment.alpha_s <= 0 and segment.s_per_byte > 0:
            end = "" if math.isinf(segment.high) else f" up to {segment.high:.0f} bytes"
            found.append(f"no latency above 0 fits the messages{end}")
    if fastest is not None:
        rates = {"one sender": path.own_rate, "all senders together": path.shared_rate}
        found += [
            f"{who} reach {format_rate(rate, 'B/s')}, above the hardware's "
            f"{format_rate(fastest, 'B/s')}"
            for who, rate in rates.items()
            if rate > BEYOND_BOUND * fastest
        ]
    return found
