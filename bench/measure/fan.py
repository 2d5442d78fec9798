"""Several ranks that send to one, and one that sends to several."""

from bench.contracts import (
    AxisSpec,
    Context,
    Measurement,
    Profile,
)
from bench.core.records import Axis, Case
from bench.measure.axes import whole
from bench.measure.library import LIBRARY
from bench.measure.transfers import (
    AT_ONCE,
    AXES,
    MOST_RANKS,
    OpenRanks,
    Route,
    Transfers,
    ranks_axis,
)

PEERS = AxisSpec(
    name="peers",
    kind=int,
    default=(1,),
    least=1,
    most=MOST_RANKS - 1,
    in_id=True,
    advice="ranks at the many end",
)
_RANKS = ranks_axis(0, 0, "world size; 0 is the peers and the one, and more than that sleep")


class _Fan(OpenRanks, Transfers):
    """One end of one rank, the other of several."""

    axes = (*AXES, LIBRARY, PEERS, _RANKS)
    profile = Profile(family=AT_ONCE, bound="routes")

    def taking_part(self, axes: dict[str, Axis]) -> int:
        """The peers and the one."""
        return 1 + int(axes["peers"])

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        peers, ranks = whole(case, "peers"), whole(case, "ranks")
        if peers >= ranks:
            return f"needs {peers + 1} ranks for {peers} peers and the one; there are {ranks}"
        return super().unsupported(case, context)


class FanIn(_Fan):
    """Windows from the first ranks to the last one, which answers when all have come."""

    name = "fan_in"
    title = "windows of messages from several ranks to one at once"

    def routes(self, case: Case) -> list[Route]:
        """Return ranks 0, 1, ... to the last one."""
        last = whole(case, "ranks") - 1
        return [Route(peer, last) for peer in range(whole(case, "peers"))]


class FanOut(_Fan):
    """Windows from the first rank to others; it waits until all have answered."""

    name = "fan_out"
    title = "windows of messages from one rank to several at once"

    def routes(self, case: Case) -> list[Route]:
        """Return rank 0 to the last ones."""
        ranks, peers = whole(case, "ranks"), whole(case, "peers")
        return [Route(0, ranks - 1 - peer) for peer in range(peers)]


BENCHMARKS: tuple[Measurement, ...] = (FanIn(), FanOut())
