"""E4: a program that keeps the memory of a NUMA node busy, and where it may run.

    python -m bench.rank.hog THREADS [CORES]

It prints `ready` once its arrays are touched, and ends with its standard input. What is staged in
host memory slows beside it; what passes between GPU and network card does not. That holds only
while it takes no core from the ranks: where none is free the row names that.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.core.program import module_command
from bench.machine.memory import read_numa
from bench.machine.sysfs import parse_cpu_list

MOST_THREADS = 8
"""Enough to fill the memory channels of a socket; more would only heat it."""
ARRAY_BYTES = 64 * 2**20
"""Of each of two arrays of a thread: above the share of any cache that a core has."""
_READY = "ready"
_READY_TIMEOUT_S = 30.0


class HogPlacement(NamedTuple):
    """Where a hog runs."""

    threads: int
    cores: tuple[int, ...]
    shared: bool
    """Whether these are cores of the ranks."""


def place_hog(
    usable: Iterable[int], ranks: Iterable[Iterable[int]], close: Iterable[int] | None = None
) -> HogPlacement:
    """Return where a hog takes no core from the ranks of its host, or all it can have.

    Args:
        usable: cores of the host.
        ranks: cores that each rank may use.
        close: cores of the NUMA node of the ranks; None where it is unknown.
    """
    cores, taken = set(usable), {core for own in ranks for core in own}
    free = cores - taken
    near = free & set(close) if close is not None else free
    chosen = tuple(sorted(near or free))
    if chosen:
        return HogPlacement(min(MOST_THREADS, len(chosen)), chosen, False)
    return HogPlacement(min(MOST_THREADS, len(cores)) or 1, tuple(sorted(cores)), True)


def close_cores(core: int, root: Path = Path("/")) -> tuple[int, ...] | None:
    """Return the cores of the NUMA node that a core belongs to, or None where it is unknown."""
    for node in read_numa(root):
        cores = parse_cpu_list(node.cpus or "")
        if cores and core in cores:
            return cores
    return None


@contextlib.contextmanager
def hogging(placement: HogPlacement | None) -> Iterator[None]:
    """Run a hog meanwhile, where there is to be one."""
    if placement is None:
        yield
        return
    cores = ",".join(map(str, placement.cores))
    process = subprocess.Popen(
        (*module_command("bench.rank.hog"), str(placement.threads), cores),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A hog neither calls MPI nor logs.
        stderr=subprocess.DEVNULL,
    )
    watchdog = threading.Timer(_READY_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        answer = process.stdout.readline() if process.stdout else b""
        watchdog.cancel()
        if answer.strip().decode(errors="replace") != _READY:
            raise RuntimeError("the memory hog of a control run did not start")
        yield
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def main(arguments: list[str]) -> None:
    """Hog until standard input ends."""
    threads = int(arguments[0])
    if len(arguments) > 1:
        os.sched_setaffinity(0, parse_cpu_list(arguments[1]) or os.sched_getaffinity(0))
    begun = threading.Barrier(threads + 1)
    for _ in range(threads):
        threading.Thread(target=_hog, args=(begun,), daemon=True).start()
    begun.wait()
    print(_READY, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


def _hog(begun: threading.Barrier) -> None:
    """Copy to and fro for ever; NumPy lets go of the interpreter meanwhile."""
    import numpy as np

    one = np.ones(ARRAY_BYTES // 8)
    other = np.zeros_like(one)
    np.copyto(other, one)
    begun.wait()
    while True:
        np.copyto(other, one)
        np.copyto(one, other)


if __name__ == "__main__":
    main(sys.argv[1:])
