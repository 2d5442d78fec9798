"""How long a case may take: for deadlines, limits of batch jobs, budgets, and sampling itself."""

from bench.core.records import Sampling

LEAST_SAMPLES = 6
"""Taken even where the cap is over: of fewer no interval of the median holds 95 %."""
MOST_SAMPLES = 400
LEAST_WARMUPS = 10
MOST_AGAIN_S = 10.0
"""Of a job, for measuring cases again that met a slow state, and no more than its first round took:
a quick look must stay quick."""
VERIFICATIONS = 1
"""Passes that the time of verifying before and after sampling amounts to."""
_OPERATIONS = 10
"""Of a pass, whatever its caps are: one to warm up and six samples, and some leeway."""


def longest_case_s(rule: Sampling, operation_s: float = 0.0) -> float:
    """Return the seconds that sampling of a case takes at most.

    Args:
        rule: caps of its sampling.
        operation_s: upper time of one operation, where that may outlast the caps.
    """
    caps_s = rule.warmup_cap_s + rule.cap_s
    return (rule.most_passes + VERIFICATIONS) * (caps_s + _OPERATIONS * operation_s)
