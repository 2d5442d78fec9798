"""Small messages per second one way between two ranks: the window of `bandwidth`, counted."""

from bench.core.records import Case, Work
from bench.measure.axes import BETWEEN, BYTES, PAIR, ROUTE, WINDOW, whole
from bench.measure.bandwidth import Bandwidth


class MessageRate(Bandwidth):
    """The one-way window of small messages."""

    name = "message_rate"
    title = "small messages per second one way between two ranks"
    axes = (BYTES, *ROUTE, WINDOW, PAIR, BETWEEN)

    def work(self, case: Case) -> Work:
        """One message that counts."""
        return Work(bytes=whole(case, "bytes"), messages=1)
