"""Rates derived from work and seconds: the one place, so that CSV, plots and verdicts agree."""

from bench.core.records import Work


def gbytes_per_s(work: Work, seconds: float) -> float | None:
    """Return 1e9 bytes per second, or None where the work moves none."""
    return None if work.rate_bytes is None else work.rate_bytes / seconds / 1e9


def busbw_gbytes_per_s(work: Work, seconds: float) -> float | None:
    """Return 1e9 bytes per second on the busiest link, or None where that is not defined."""
    return None if work.bus_bytes is None else work.bus_bytes / seconds / 1e9


def tflops(work: Work, seconds: float) -> float | None:
    """Return 1e12 FLOP per second, or None where the work computes nothing."""
    return None if work.flop is None else work.flop / seconds / 1e12


def messages_per_s(work: Work, seconds: float) -> float | None:
    """Return messages per second, or None where the work sends none that count."""
    return None if work.messages is None else work.messages / seconds
