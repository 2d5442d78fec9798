"""One word for all cases of a comparison."""

from collections.abc import Sequence

from bench.core.verdict import Outcome
from bench.judge.compare.records import CaseAnswer

ENOUGH_SAME = 0.9
"""Of all cases, for the whole to be the same."""


def overall(answers: Sequence[CaseAnswer]) -> Outcome:
    """Return SLOWER if any case is, FASTER if any is and none is slower.

    Of no change SAME if at least 90 % are the same, else CANNOT TELL, as of no case at all.
    """
    outcomes = [answer.outcome for answer in answers]
    for changed in (Outcome.SLOWER, Outcome.FASTER):
        if changed in outcomes:
            return changed
    enough = outcomes and outcomes.count(Outcome.SAME) >= ENOUGH_SAME * len(outcomes)
    return Outcome.SAME if enough else Outcome.CANNOT_TELL
