"""What work costs on the clock of the simulated machine."""

FLOP_RATE = 1e12
"""FLOP per second of every product."""
RATE = 1e9
"""Bytes per second of every copy, whatever else is copied."""
LAUNCH_S = 1e-3
"""Seconds on the clock that a stream is held at least: the host queues meanwhile."""
