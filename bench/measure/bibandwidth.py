"""Windows of messages both ways at once between two ranks, per pair of messages."""

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Headline,
    Measurement,
    Operation,
    Profile,
    Seconds,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule
from bench.measure.axes import BETWEEN, BYTES, PAIR, ROUTE, WINDOWS, whole, with_default
from bench.measure.bandwidth import FIGURE
from bench.measure.pair import PairOperation, unsupported_pair, window_size


class Bibandwidth:
    """The window in both directions."""

    name = "bibandwidth"
    title = "windows of messages both ways at once between two ranks"
    axes: tuple[AxisSpec, ...] = (with_default(BYTES, 2**20), *ROUTE, *WINDOWS, PAIR, BETWEEN)
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = True
    profile = Profile(
        family="point to point",
        bound="both ways",
        part="crossing",
        turns_pages=True,
        headline=Headline(
            pick="best of each curve",
            what="Peak bandwidth, both ways together",
            rate="gbytes_per_s",
        ),
        figures=(FIGURE,),
    )

    def work(self, case: Case) -> Work:
        """One message each way; the rate is the sum of both directions."""
        return Work(bytes=whole(case, "bytes"), rate_bytes=2 * whole(case, "bytes"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """One pair, both ways, and the window that fits."""
        return {"direction": "bi", "pairs": 1, "window": window_size(case)}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        return unsupported_pair(case, context)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate a slot for every message in flight, or one for all, each way."""
        return _ExchangeWindow(case, context)


class _ExchangeWindow(PairOperation):
    def __init__(self, case: Case, context: Context) -> None:
        super().__init__(case, context)
        self._window = window_size(case)
        self._send, self._receive = self.lane(self._window), self.lane(self._window)
        schedule = Schedule()
        schedule.begin()
        self.carry(schedule, self._send, self._receive)
        schedule.end()
        self._steps = schedule.cut()

    def run(self, seconds: Seconds, loops: int) -> None:
        if self.direct:
            send, receive = self._send.slots, self._receive.slots
            self.loops.exchange_window(seconds, loops, send, receive, self.peer)
            return
        self.follow(seconds, loops, self._steps)
        seconds /= self._window

    def verify(self, seed: int) -> Checked:
        return self.check(seed, self._send.buffer, self._receive.buffer)


BENCHMARKS: tuple[Measurement, ...] = (Bibandwidth(),)
