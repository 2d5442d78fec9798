"""Faults on purpose: what a check must see on this GPU."""

from pathlib import Path

from firstgpu.answer import Answer, judge
from firstgpu.gpu import ROUTES, open_device, open_pair

NBYTES = 2**20 + 5


def miss_wrong_bytes() -> list[str]:
    """Return the routes on which a wrong byte was not seen after a copy, or a right one was."""
    missed = []
    for route in ROUTES:
        for engine in ("copy-engine", "kernel"):
            pair = open_pair(route, NBYTES)
            pair.source.fill(1)
            pair.target.poison(1)
            open_device().open_copies([pair.transfer()], engine).time(1)
            name = f"{' to '.join(route)} by {engine}"
            if wrong := pair.target.count_wrong(1):
                missed.append(f"{name}: {wrong} bytes are wrong of themselves")
            spoilt = pair.target.read().copy()
            spoilt[NBYTES - 1] ^= 1
            pair.target.write(spoilt)
            if pair.target.count_wrong(1) != 1:
                missed.append(f"{name}: a wrong last byte was not seen")
    return missed


def ask(folder: Path) -> Answer:
    """Spoil what was copied and what was multiplied."""
    del folder
    open_device()
    wrong = miss_wrong_bytes()
    means = "a row that is ok was looked at"
    return judge(wrong, "every fault was seen", means, [])
