"""How many launches a comparison will take, before anything is measured."""

from collections.abc import Sequence

import msgspec
import numpy as np

from bench.core.errors import RequestError, printable
from bench.judge.compare.answer import WEIGHTS
from bench.judge.compare.needed import launches_to_see
from bench.judge.compare.records import LEVEL, MARGIN, Aspect
from bench.judge.compare.sides import Side, load_side
from bench.judge.compare.words import percent_text
from bench.judge.table import measured
from bench.store.folder import RunFolder

LEAST_LAUNCHES = 3
"""Of a case, for its noise to be known."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to see a change of any of some cases, in 9 of 10 comparisons."""

    change: float
    """Relative, of the seconds."""
    cases: int
    """That are compared at once."""
    noise: float
    """Standard deviation of the logarithms of launches, of the middle case."""
    most_noise: float
    """Of the noisiest case."""
    launches: int | None
    """Of each side, for the middle case; None where the change is within the margin, or more are
    needed than anybody waits for."""
    most_launches: int | None
    """For the noisiest case."""


def find_power(
    change: float, noises: Sequence[float], cases: int, margin: float = MARGIN, level: float = LEVEL
) -> Power:
    """Return the launches of each side that a change takes to be seen.

    Args:
        change: relative, of the seconds.
        noises: standard deviation of the logarithms of launches, of each case that is known; one
            at least.
        cases: that will be compared at once.
        margin: changes within it count as none.
        level: how often the whole comparison may call any case changed where none is.
    """
    own = level * WEIGHTS[Aspect.LEVEL] / sum(WEIGHTS.values())
    noise, most = float(np.median(noises)), max(noises)
    return Power(
        change=change,
        cases=cases,
        noise=noise,
        most_noise=most,
        launches=launches_to_see(change, noise, cases, margin, own),
        most_launches=launches_to_see(change, most, cases, margin, own),
    )


def find_noises(run: RunFolder) -> list[float]:
    """Return how far the launches of each case of a run scatter.

    Raises:
        RequestError: where no case has three launches, or a file of the run is damaged.
    """
    lines = measured(load_side(Side("A", (run,))))
    logs = np.log(lines["t_median_s"]).groupby([lines["case"], lines["part"]], dropna=False)
    spreads = logs.std(ddof=1)[logs.size() >= LEAST_LAUNCHES]
    if spreads.empty:
        raise RequestError(
            f"{printable(run.path, 300)}: no case has {LEAST_LAUNCHES} launches, so that nobody "
            "knows how they scatter; say it with --noise, or measure with --launches 10"
        )
    return [float(spread) for spread in spreads]


def power_text(power: Power) -> str:
    """Return it in a sentence."""
    asked = (
        f"a change of {percent_text(power.change)} in any of {power.cases} cases is seen in 9 of "
        f"10 comparisons from {_launches(power.launches)} a side on, at a noise of "
        f"{percent_text(power.noise)}"
    )
    if power.most_noise == power.noise:
        return asked
    return (
        f"{asked}, that of the middle case; the noisiest one ({percent_text(power.most_noise)}) "
        f"takes {_launches(power.most_launches)}"
    )


def _launches(number: int | None) -> str:
    return "more launches than anybody waits for" if number is None else f"{number} launches"
