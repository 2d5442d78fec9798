"""Processes that should have ended."""

import psutil

# On a machine that others use too.
LEFT_AFTER_S = 60


def left_running(processes: list[psutil.Process]) -> list[int]:
    """Return which of them still run after a while; one that nobody has reaped yet has ended."""
    _, alive = psutil.wait_procs(processes, timeout=LEFT_AFTER_S)
    return [process.pid for process in alive if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
