"""E1 from NCCL and RCCL: the channels that `NCCL_DEBUG=INFO` lists at the start.

A channel is printed `via NET/IB/0/GDRDMA`, `via P2P/CUMEM`, `via SHM/direct/direct`; without the
mark GDRDMA what goes through a network card is staged in host memory. That DMA-BUF is available is
printed in any case and proves nothing (nccl-tests#245); a module that is loaded may still be
refused (nccl#1537). NCCL chooses channels once, so that they hold for messages of all sizes.
"""

import re
from collections.abc import Collection
from typing import Literal

import msgspec

Route = Literal["direct", "staged"]

_CHANNEL = re.compile(
    r"(?:Channel|Ring) \d+(?:/\d+)? : (?P<src>\d+)(?:\[\w+\])? -> (?P<dst>\d+)(?:\[\w+\])?"
    r"(?: \[(?:send|receive)\])? via (?P<via>\S+)"
)
_GPUDIRECT = re.compile(r"GPU Direct RDMA (?P<state>Enabled|Disabled) for (?P<whom>.{1,120})")


class Channel(msgspec.Struct, frozen=True):
    """One channel between two ranks, and what carries it."""

    src: int
    dst: int
    via: str
    """Such as `NET/IB/0/GDRDMA`."""

    @property
    def route(self) -> Route | None:
        """Whether it passes host memory; None where the words are not known here."""
        kind, _, rest = self.via.partition("/")
        if kind == "NET":
            return "direct" if "/GDRDMA" in self.via else "staged"
        if kind == "SHM":
            return "staged"
        # Through another GPU of the node is still not through the host.
        return "direct" if kind in ("P2P", "NVLS") and not rest.startswith("host") else None

    @property
    def across(self) -> bool:
        """Whether it leaves the node."""
        return self.via.startswith("NET/")


class NcclTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What NCCL printed in a log."""

    channels: tuple[Channel, ...]
    gpudirect: tuple[tuple[bool, str], ...]
    """Whether GPUDirect RDMA was enabled, and for whom."""


def parse_trace(text: str) -> NcclTrace:
    """Return what NCCL printed in a log; other lines are passed over."""
    channels = (
        Channel(int(found["src"][:9]), int(found["dst"][:9]), found["via"][:100])
        for found in _CHANNEL.finditer(text)
    )
    states = (
        (found["state"] == "Enabled", found["whom"].strip()) for found in _GPUDIRECT.finditer(text)
    )
    return NcclTrace(
        channels=tuple(dict.fromkeys(channels)), gpudirect=tuple(dict.fromkeys(states))
    )


def routes(
    trace: NcclTrace, across: bool | None, ends: Collection[int] | None = None
) -> tuple[tuple[Route, str], ...]:
    """Return the routes of the channels that were opened, with NCCL's words.

    Args:
        trace: of the job, which opens channels between many pairs of its ranks.
        across: whether messages left the node; None where channels of both kinds count.
        ends: the two ranks whose messages are asked about; None for all ranks.
    """
    found: list[tuple[Route, str]] = [
        (channel.route, f"NCCL, {channel.src} to {channel.dst}: {channel.via}")
        for channel in trace.channels
        if channel.route is not None and across in (None, channel.across)
        if ends is None or {channel.src, channel.dst} == {*ends}
    ]
    refused = [whom for enabled, whom in trace.gpudirect if not enabled]
    if across is not False and refused and not any(on for on, _ in trace.gpudirect):
        found.append(("staged", f"NCCL: GPU Direct RDMA Disabled for {refused[0]}"))
    return tuple(dict.fromkeys(found))
