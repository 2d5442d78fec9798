"""Windows of messages between many ranks at once: who sends to whom is all that differs.

Ranks leave a barrier of small messages together. Clocks of different nodes are never subtracted: a
rank times itself, from the barrier to the acknowledgement of what it sent.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.contracts import AxisSpec, Checked, Context, Operation, Seconds, one_sample
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule
from bench.measure.axes import BYTES, MEMORY, WINDOWS, shares_buffer, whole, with_default, word
from bench.measure.library import by_nccl, library_facts, open_library, refuse_nccl, share_of_host
from bench.measure.pair import MOST_IN_FLIGHT
from bench.measure.staging import Lane

AXES = (with_default(BYTES, 2**20), MEMORY, *WINDOWS)
MOST_RANKS = 4096
AT_ONCE = "several at once"
"""Family of windows that share links and cores."""


class Route(NamedTuple):
    """One rank that sends a window, and the one that receives it."""

    source: int
    target: int


def ranks_axis(least: int, default: int, advice: str) -> AxisSpec:
    """Return the axis of the world size."""
    return AxisSpec(
        name="ranks", kind=int, default=(default,), least=least, most=MOST_RANKS, advice=advice
    )


class Transfers:
    """Base of the measurements of windows that are sent at once."""

    rank_agg = "max"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = False
    acknowledged = True
    """Whether receivers answer a window, and senders wait for that."""

    def routes(self, case: Case) -> list[Route]:
        """Return who sends a window to whom."""
        raise NotImplementedError

    def timekeepers(self, case: Case) -> Collection[int]:
        """Return the ranks that send: they know when their window is acknowledged."""
        return {route.source for route in self.routes(case)}

    def compare_ranks(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Nothing beyond the statistics."""
        del case, samples
        return {}

    def work(self, case: Case) -> Work:
        """One message on every route; the rate is the sum over them."""
        count = len(self.routes(case))
        nbytes = whole(case, "bytes")
        return Work(bytes=nbytes, bytes_total=count * nbytes, rate_bytes=count * nbytes)

    def columns(self, case: Case) -> dict[str, Axis]:
        """One way on each of the routes, and the window that fits."""
        return {
            "direction": "uni",
            "pairs": len(self.routes(case)),
            "window": self.window(case),
        }

    def window(self, case: Case) -> int:
        """Return the messages in flight on a route, as far as one rank can hold all of its own."""
        if shares_buffer(case):
            return whole(case, "window")
        routes = self.routes(case)
        sends = Counter(route.source for route in routes)
        receives = Counter(route.target for route in routes)
        most = max(*sends.values(), *receives.values())
        fit = MOST_IN_FLIGHT // (most * whole(case, "bytes"))
        return max(1, min(whole(case, "window"), fit))

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if by_nccl(case):
            return refuse_nccl(context, {word(case, "memory")})
        if context.message_loops is None:
            return "needs MPI: it passes messages between ranks"
        return context.memories.lacks(word(case, "memory"))

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate a slot for every message in flight, or one for all of a route."""
        return _Windows(case, context, self.routes(case), self.window(case), self.acknowledged)


class OpenRanks:
    """Base of those whose world size a suite may leave open (0): then it is who takes part."""

    def taking_part(self, axes: dict[str, Axis]) -> int:
        """Return the ranks that send or receive."""
        raise NotImplementedError

    def count_cases(self, ranks: int, gpus: int) -> int:
        """One, however many ranks."""
        del ranks, gpus
        return 1

    def each_case(self, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
        """Fill in the world size where it is open."""
        yield {**axes, "ranks": axes["ranks"] or self.taking_part(axes)}


class _Windows:
    """The windows that one rank sends and receives."""

    def __init__(
        self,
        case: Case,
        context: Context,
        routes: Sequence[Route],
        window: int,
        acknowledged: bool,
    ) -> None:
        self._loops = open_library(case, context)
        self.timing_layer = self._loops.name
        self.overhead_s = self._loops.overhead_s
        self.params: dict[str, Axis] = {**library_facts(case, context)}
        self._rank = context.communicator.rank
        self._window = window
        members = sorted({rank for route in routes for rank in route})
        self.idle = self._rank not in members
        memory = context.memories[word(case, "memory")]

        def lane() -> Lane:
            return Lane(memory, None, whole(case, "bytes"), window, shared=shares_buffer(case))

        self._out = {r.target: lane() for r in routes if r.source == self._rank}
        self._in = {r.source: lane() for r in routes if r.target == self._rank}
        schedule = Schedule()
        if not self.idle:
            self._write(schedule, members, acknowledged)
        self._steps = schedule.cut()

    @property
    def host_share(self) -> float | None:
        """Of the time of one operation, that in which the host queued calls of a GPU's library."""
        return share_of_host(self._loops)

    def _write(self, schedule: Schedule, members: Sequence[int], acknowledged: bool) -> None:
        """Write down: all start together, receive and send at once, acknowledge, end."""
        schedule.meet_among(members, self._rank)
        schedule.begin()
        for source, lane in self._in.items():
            for number, piece in enumerate(lane.pieces):
                schedule.start_receive(lane.at(number), piece.nbytes, source)
        for target, lane in self._out.items():
            for number, piece in enumerate(lane.pieces):
                schedule.start_send(lane.at(number), piece.nbytes, target)
        if acknowledged:
            for target in self._out:
                schedule.start_receive(0, 0, target)
            schedule.wait_for(0, len(self._in) * self._window)
            for source in self._in:
                schedule.send(0, 0, source)
            schedule.wait()
            schedule.end()
        else:
            schedule.wait_for(0, len(self._in) * self._window)
            schedule.end()
            schedule.wait()

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with the time of a window, per message."""
        self._loops.follow(seconds, loops, self._steps)
        seconds /= self._window

    def verify(self, seed: int) -> Checked:
        """Send another pattern on every route, so that a message on the wrong one is seen."""
        for target, lane in self._out.items():
            lane.buffer.fill(_pattern_of(seed, Route(self._rank, target)))
        for source, lane in self._in.items():
            lane.buffer.poison(_pattern_of(seed, Route(source, self._rank)))
        self.run(one_sample(), 1)
        wrong = sum(
            lane.buffer.count_wrong(_pattern_of(seed, Route(source, self._rank)))
            for source, lane in self._in.items()
        )
        return Checked(sum(lane.buffer.nbytes for lane in self._in.values()), wrong)


def _pattern_of(seed: int, route: Route) -> int:
    return (seed * MOST_RANKS + route.source) * MOST_RANKS + route.target
