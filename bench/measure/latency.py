"""Half a round trip of one message between two ranks (blocking send and receive)."""

from bench.contracts import Checked, Context, Operation, Seconds
from bench.measure.axes import BYTES, MEMORY, PAIR, PATH, whole
from bench.measure.pair import PairOperation, unsupported_pair
from bench.record import Axis, Case, Work


class Latency:
    """The ping-pong."""

    name = "latency"
    title = "half a round trip of one message between two ranks"
    axes = (BYTES, MEMORY, PATH, PAIR)
    rank_agg = "rank0"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = True

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
        self._send = self.allocate(self.nbytes)
        self._receive = self.allocate(self.nbytes)

    def run(self, seconds: Seconds, loops: int) -> None:
        self.loops.pingpong(
            seconds, loops, self._send.address, self._receive.address, self.nbytes, self.peer
        )

    def verify(self, seed: int) -> Checked:
        return self.check(seed, self._send, self._receive)
