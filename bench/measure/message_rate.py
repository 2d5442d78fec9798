"""Small messages per second one way between two ranks: the window of `bandwidth`, counted."""

from bench.contracts import (
    Figure,
    Headline,
    Measurement,
    Profile,
)
from bench.core.records import Case, Work
from bench.measure.axes import BETWEEN, BYTES, PAIR, ROUTE, WINDOWS, whole
from bench.measure.bandwidth import Bandwidth


class MessageRate(Bandwidth):
    """The one-way window of small messages."""

    name = "message_rate"
    title = "small messages per second one way between two ranks"
    axes = (BYTES, *ROUTE, *WINDOWS, PAIR, BETWEEN)
    profile = Profile(
        family="point to point",
        bound="one way",
        headline=Headline(pick="best of each curve", what="Message rate", rate="messages_per_s"),
        figures=(
            Figure(
                name="message_rate",
                title="Message rate against message size",
                draws="message rates",
                see="Messages per second with a window in flight; higher is better. The curve is "
                "flat as long as the cost of a message decides, and falls where its bytes do.",
                numbers="best",
            ),
        ),
    )

    def work(self, case: Case) -> Work:
        """One message that counts."""
        return Work(bytes=whole(case, "bytes"), messages=1)


BENCHMARKS: tuple[Measurement, ...] = (MessageRate(),)
