"""How long a job may be silent before it counts as hanging.

Rank 0 alone prints events, and reports that a case goes on while it takes part itself. Where it
sleeps, as between ranks 1 and 2, it cannot know that the others move: such a case has to end by its
deadline. A message to it would let it know, and might reach it in the midst of a sample of its own.
"""

from bench.core.limits import longest_case_s
from bench.core.records import Case, Sampling

START_DEADLINE_S = 120.0
"""From the command to the first case: MPI start-up and imports from a cold network file system."""
END_DEADLINE_S = 30.0
"""After all cases have ended: a launcher whose ranks have gone can still wait for its daemons."""
LEAST_CASE_DEADLINE_S = 30.0


def case_deadline_s(case: Case, rule: Sampling, high_s: float | None) -> float:
    """Return the seconds of silence after which a case is ended; long samples break it.

    At least 30 s, and well above what sampling takes: its caps, and for operations that outlast
    them ten times the predicted upper time in each pass. A part that is some times slower than
    predicted is still measured, since to find it is what the run is for.

    Args:
        case: whose deadline it is.
        rule: caps of its sampling.
        high_s: predicted upper time of one operation, as `predictions.csv` has it; None where
            there is none.
    """
    if high_s is None:
        return max(LEAST_CASE_DEADLINE_S, 10 * (rule.warmup_cap_s + rule.cap_s))
    # A time is that of one message; what runs as a whole is a window of them.
    whole_s = high_s * int(case.axes.get("window", 1))
    return max(LEAST_CASE_DEADLINE_S, longest_case_s(rule, whole_s))
