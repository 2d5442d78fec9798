"""What a sample costs beside its operations: the time of n copies as a + b n."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firstgpu.answer import Answer, judge
from firstgpu.gpu import ROUTES, open_device, open_pair

SIZES = (2**12, 2**16, 2**20, 2**24, 2**28)
TIMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REPEATS = 5
MOST_S = 0.05
"""Of one sample here."""
SAMPLE_S = 1e-3
"""Least sample of a case that device events time."""
MOST_OFF = 0.02
"""Of a sample; less is beside what copies differ by anyhow."""


class Line(NamedTuple):
    """Seconds of n operations: fixed + each n."""

    fixed_s: float
    each_s: float

    def off(self) -> float:
        """Return the share of the fixed part in a sample as the harness takes it."""
        times = min(64.0, max(1.0, SAMPLE_S / self.each_s)) if self.each_s > 0 else 1.0
        whole = self.fixed_s + times * self.each_s
        return self.fixed_s / whole if whole > 0 else 0.0


def fit_line(times: Sequence[int], seconds: Sequence[float]) -> Line:
    """Return the line through totals whose errors are in proportion to them."""
    counts, totals = np.asarray(times, float), np.asarray(seconds, float)
    each, fixed = np.polyfit(counts, totals, 1, w=1 / totals)
    return Line(float(fixed), float(each))


def sample(time: Callable[[int], float]) -> Line:
    """Return the line of what takes so many operations and returns the seconds of one."""
    time(1)  # what is loaded and allocated at first use
    times, totals = [], []
    for count in TIMES:
        total = min(time(count) for _ in range(REPEATS)) * count
        times.append(count)
        totals.append(total)
        if total > MOST_S and len(times) > 2:
            break
    return fit_line(times, totals)


def ask(folder: Path) -> Answer:
    """Fit every route, engine, direction and size; keep the table as a file too."""
    device = open_device()
    table = [["route", "engine", "ways", "bytes", "fixed us", "each us", "share of a sample"]]
    wrong = []
    for route in ROUTES:
        for engine in ("copy-engine", "kernel"):
            for ways in (1, 2):
                for nbytes in SIZES:
                    routes = (route, route[::-1])[:ways]
                    pairs = [open_pair(each, nbytes) for each in routes]
                    copies = device.open_copies([pair.transfer() for pair in pairs], engine)
                    line = sample(copies.time)
                    name = f"{' to '.join(route)} {nbytes} bytes by {engine}, {ways} way"
                    table.append([
                        " to ".join(route), engine, str(ways), str(nbytes),
                        f"{line.fixed_s * 1e6:.2f}", f"{line.each_s * 1e6:.2f}",
                        f"{line.off():.1%}",
                    ])  # fmt: skip
                    if line.off() > MOST_OFF:
                        wrong.append(f"{name}: {line.off():.1%} of a sample is none of its copies")
    lines = [",".join(row) for row in table]
    (folder / "fixed-cost.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    means = (
        "the fixed part is start-up and events; what of it is in a sample makes small copies look "
        f"slower than they are, by at most {MOST_OFF:.0%} where this is right"
    )
    return judge(_few(wrong), f"at most {MOST_OFF:.0%} of any sample", means, table)


def _few(wrong: list[str]) -> list[str]:
    most = 3
    return wrong if len(wrong) <= most else [*wrong[:most], f"and {len(wrong) - most} more"]
