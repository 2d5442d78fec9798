"""What work costs on the clock of the simulated machine."""

FLOP_RATE = 1e12
"""FLOP per second of every product."""
RATE = 1e9
"""Bytes per second of every copy, whatever else is copied."""
CACHED = 4
"""How many times as fast a copy is whose both ends lie in the cache."""
CACHE_BYTES = 2**20
LAUNCH_S = 1e-3
"""Seconds on the clock that a stream is held at least: the host queues meanwhile."""
EVENT_S = 2e-6
"""Of each event that is recorded, after its time was taken."""
SWITCH_S = 10e-6
"""Where a stream goes from kernels to a copy engine or back."""
WAIT_S = 3e-6
"""Where a stream has waited for another one."""
FIXED_MOST_S = EVENT_S + 2 * WAIT_S
"""What may be left in a sample: its first event, and streams that wait for each other."""
GIVE_UP_S = 10.0
"""A kernel that holds a stream and is never told to end."""
MOST_QUEUED = 1000
"""Entries of a stream; a host that queues one more waits."""
