"""Memory on a chosen NUMA node: Linux puts a page where the thread runs that touches it first."""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_on_cpus(cpus: tuple[int, ...], work: Callable[[], T]) -> T:
    """Return what `work` returns on a thread bound to these CPUs; on this one where there are none.

    Raises:
        OSError: where the process may not run there.
    """
    if not cpus:
        return work()
    found: list[T] = []
    errors: list[BaseException] = []

    def bound() -> None:
        try:
            os.sched_setaffinity(0, cpus)  # of this thread alone
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=bound)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]
