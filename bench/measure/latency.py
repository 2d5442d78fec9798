"""Half a round trip of one message between two ranks (blocking send and receive)."""

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
from bench.measure.axes import BETWEEN, BYTES, PAIR, ROUTE, whole
from bench.measure.pair import PairOperation, unsupported_pair


class Latency:
    """The ping-pong."""

    name = "latency"
    title = "half a round trip of one message between two ranks"
    axes: tuple[AxisSpec, ...] = (BYTES, *ROUTE, PAIR, BETWEEN)
    rank_agg = "rank0"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = True
    profile = Profile(
        family="point to point",
        bound="ping-pong",
        part="message",
        turns_pages=True,
        headline=Headline(pick="small message", what="Small-message latency"),
        figures=(
            Figure(
                name="latency",
                title="Latency against message size",
                draws="times",
                y_label="latency",
                see="Half a round trip of one message; lower is better.",
                numbers="flat part",
                ending="A step between two sizes is where the MPI library changes its protocol.",
            ),
        ),
    )

    def work(self, case: Case) -> Work:
        """One message."""
        return Work(bytes=whole(case, "bytes"), rate_bytes=whole(case, "bytes"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """One pair, one message at a time."""
        return {"direction": "uni", "pairs": 1}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        return unsupported_pair(case, context)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate separate buffers for sending and receiving."""
        return _Pingpong(case, context)


class _Pingpong(PairOperation):
    def __init__(self, case: Case, context: Context) -> None:
        super().__init__(case, context)
        self._send, self._receive = self.lane(), self.lane()
        self._steps = self._write_down()

    def _write_down(self) -> Steps:
        schedule = Schedule()
        schedule.begin()
        if self.peer.leads:
            self.carry(schedule, self._send, None)
        self.carry(schedule, None, self._receive)
        if not self.peer.leads:
            self.carry(schedule, self._send, None)
        schedule.end()
        return schedule.cut()

    def run(self, seconds: Seconds, loops: int) -> None:
        if self.direct:
            send, receive = self._send.buffer.address, self._receive.buffer.address
            self.loops.pingpong(seconds, loops, send, receive, self.nbytes, self.peer)
            return
        self.follow(seconds, loops, self._steps)
        seconds /= 2

    def verify(self, seed: int) -> Checked:
        return self.check(seed, self._send.buffer, self._receive.buffer)


BENCHMARKS: tuple[Measurement, ...] = (Latency(),)
