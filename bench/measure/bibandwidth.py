"""Windows of messages both ways at once between two ranks, per pair of messages."""

from bench.contracts import Checked, Context, Operation, Seconds
from bench.measure.axes import BYTES, MEMORY, PAIR, PATH, WINDOW, whole, with_default
from bench.measure.pair import PairOperation, unsupported_pair, window_size
from bench.record import Axis, Case, Work


class Bibandwidth:
    """The window in both directions."""

    name = "bibandwidth"
    title = "windows of messages both ways at once between two ranks"
    axes = (with_default(BYTES, 2**20), MEMORY, PATH, WINDOW, PAIR)
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = True

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
        """Allocate a slot of its own for every message in flight, each way."""
        return _ExchangeWindow(case, context)


class _ExchangeWindow(PairOperation):
    def __init__(self, case: Case, context: Context) -> None:
        super().__init__(case, context)
        self._window = window_size(case)
        self._send = self.allocate(self.nbytes * self._window)
        self._receive = self.allocate(self.nbytes * self._window)

    def run(self, seconds: Seconds, loops: int) -> None:
        self.loops.exchange_window(
            seconds,
            loops,
            self._send.address,
            self._receive.address,
            self.nbytes,
            self._window,
            self.peer,
        )

    def verify(self, seed: int) -> Checked:
        return self.check(seed, self._send, self._receive)
