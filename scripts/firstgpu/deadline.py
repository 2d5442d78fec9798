"""How long a step may still take, by the process that takes it."""

import os
import time

LEFT = "FIRST_GPU_LEFT_S"
"""In the environment of a step: the seconds it has from its start."""
CLOSING_S = 25.0
"""Before its end what a step has started is asked to end: it may take 20 s, and the rest is for
what has come."""
_BEGIN_S = time.monotonic()


def left_s() -> float:
    """Return the seconds until this process is killed; without end where nobody has set one."""
    return float(os.environ.get(LEFT, "inf")) - (time.monotonic() - _BEGIN_S)


def inner_s() -> float | None:
    """Return the seconds for what a step runs, so that it can tell what came; None for no limit."""
    left = left_s()
    return None if left == float("inf") else max(1.0, left - CLOSING_S)
