"""Fill the cache of compiled loops before ranks need them.

`python -m bench.rank.timing.compile BYTES`

BYTES is the size of an MPI handle, 4 or 8. Ranks that compile at the same time would wait for
each other inside a job, and its deadline.
"""

import sys

from bench.rank.timing.layers import prepare_cache


def main(handle_bytes: int) -> None:
    """Compile every loop, or read it from the cache; without numba there is nothing to do."""
    prepare_cache()
    try:
        from bench.rank.timing.ceiling_loops import CeilingLoops
        from bench.rank.timing.mpi_calls import NO_CALLS, Handles
        from bench.rank.timing.native import NativeMemoryLoops, NativeMessageLoops
        from bench.rank.timing.standin_queue import NativeQueue
    except ImportError:
        return
    NativeMemoryLoops()
    NativeQueue()
    CeilingLoops()
    NativeMessageLoops(NO_CALLS, Handles(handle_bytes, 0, 0, 0, 0, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
