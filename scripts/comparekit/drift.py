"""Rates of all links of a lab that swing and step together, as a fabric does that others load."""

import contextlib
import math
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping

from labkit.cluster import ETHERNET_BYTES, burst_bytes, read_description
from labkit.namespaces import entry

TICK_S = 0.25
_QUEUE_BYTES = 1_000_000
HEIGHT = 0.2
PERIOD = 4.0
"""Launches that one swing takes."""


def swing_and_step(at: float, step_at: float) -> float:
    """Return the share of its rate that a link has: a sine, and a step down by as much.

    Args:
        at: launches since the first one began.
        step_at: when the step comes.
    """
    level = 1.0 if at < step_at else 1.0 - HEIGHT
    return level * (1 + HEIGHT * math.sin(2 * math.pi * at / PERIOD))


@contextlib.contextmanager
def drifting(share: Callable[[], float], rates: Mapping[str, float]) -> Iterator[None]:
    """Have what all hosts send follow `share` until the block ends.

    Args:
        share: of each rate, now.
        rates: bit/s by interface, such as `eth1`.
    """
    shapers = [
        subprocess.Popen((*entry(host), "tc", "-batch", "-"), stdin=subprocess.PIPE, text=True)
        for host in read_description().hosts
    ]
    done = threading.Event()

    def follow() -> None:
        while not done.wait(TICK_S):
            now = share()
            text = "".join(_line(name, now * rate) for name, rate in rates.items())
            for shaper in shapers:
                if shaper.stdin is not None:
                    shaper.stdin.write(text)
                    shaper.stdin.flush()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for shaper in shapers:
            shaper.communicate(timeout=10)


def _line(interface: str, rate: float) -> str:
    burst = burst_bytes(round(rate))
    return (
        f"qdisc replace dev {interface} root tbf rate {round(rate)}bit burst {burst}b "
        f"limit {_QUEUE_BYTES} overhead {ETHERNET_BYTES}\n"
    )
