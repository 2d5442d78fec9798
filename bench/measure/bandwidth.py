"""A window of messages one way between two ranks, ended by one reply, per message."""

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Figure,
    Headline,
    Measurement,
    Operation,
    Profile,
    Seconds,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import BETWEEN, BYTES, PAIR, ROUTE, WINDOWS, whole, with_default
from bench.measure.pair import PairOperation, unsupported_pair, window_size

FIGURE = Figure(
    name="bandwidth",
    title="Bandwidth against message size",
    draws="rates",
    y_label="bandwidth",
    see="Bytes per second with a window of messages in flight; higher is better.",
    numbers="both directions",
)
"""Shared with both directions at once."""


class Bandwidth:
    """The one-way window."""

    name = "bandwidth"
    title = "a window of messages one way between two ranks"
    axes: tuple[AxisSpec, ...] = (with_default(BYTES, 2**20), *ROUTE, *WINDOWS, PAIR, BETWEEN)
    rank_agg = "rank0"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = True
    profile = Profile(
        family="point to point",
        bound="one way",
        part="window",
        turns_pages=True,
        headline=Headline(
            pick="best of each curve", what="Peak bandwidth, one way", rate="gbytes_per_s"
        ),
        figures=(FIGURE,),
    )

    def work(self, case: Case) -> Work:
        """One message."""
        return Work(bytes=whole(case, "bytes"), rate_bytes=whole(case, "bytes"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """One pair, one way, and the window that fits."""
        return {"direction": "uni", "pairs": 1, "window": window_size(case)}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        return unsupported_pair(case, context)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate a slot for every message in flight, or one for all."""
        return _Window(case, context)


class _Window(PairOperation):
    def __init__(self, case: Case, context: Context) -> None:
        super().__init__(case, context)
        self._window = window_size(case)
        self._slots = self.lane(self._window)
        self._steps = self._write_down()

    def _write_down(self) -> Steps:
        schedule = Schedule()
        schedule.begin()
        if self.peer.leads:
            self.carry(schedule, self._slots, None)
            schedule.receive(0, 0, self.peer.rank)
        else:
            self.carry(schedule, None, self._slots)
            schedule.send(0, 0, self.peer.rank)
        schedule.end()
        return schedule.cut()

    def run(self, seconds: Seconds, loops: int) -> None:
        if self.direct:
            self.loops.window(seconds, loops, self._slots.slots, self.peer)
            return
        self.follow(seconds, loops, self._steps)
        seconds /= self._window

    def verify(self, seed: int) -> Checked:
        if self.peer.leads:
            return self.check(seed, self._slots.buffer, None)
        return self.check(seed, None, self._slots.buffer)


BENCHMARKS: tuple[Measurement, ...] = (Bandwidth(),)
