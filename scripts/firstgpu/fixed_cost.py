"""What a sample costs beside its operations: the time of n copies as a + b n."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.contracts import LeastSample
from bench.rank.timing.sampling import choose_loops
from firstgpu.answer import Answer, judge, keep_so_far
from firstgpu.gpu import ROUTES, open_device, open_pair

SIZES = (2**12, 2**16, 2**20, 2**24, 2**28)
TIMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REPEATS = 5
MOST_S = 0.05
"""Of one sample here."""
MOST_OFF = 0.02
"""Of a sample; less is beside what copies differ by anyhow."""
MEANS = (
    "the fixed part is start-up and events; what of it is in a sample makes small copies look "
    f"slower than they are, by at most {MOST_OFF:.0%} where this is right, and rows tell it so"
)


class Line(NamedTuple):
    """Seconds of n operations: fixed + each n."""

    fixed_s: float
    each_s: float

    def share(self, part_s: float, least: LeastSample) -> float:
        """Return what a part is of a sample as the harness takes it."""
        whole = self.fixed_s + choose_loops(self.each_s, least) * self.each_s
        return part_s / whole if whole > 0 else 0.0


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
    table = [["route", "engine", "ways", "bytes", "fixed us", "told us", "each us",
              "share of a sample"]]  # fmt: skip
    wrong: list[str] = []
    for route in ROUTES:
        for engine in ("copy-engine", "kernel"):
            for ways in (1, 2):
                for nbytes in SIZES:
                    routes = (route, route[::-1])[:ways]
                    pairs = [open_pair(each, nbytes) for each in routes]
                    copies = device.open_copies([pair.transfer() for pair in pairs], engine)
                    line = sample(copies.time)
                    told_s, off = copies.fixed_s, line.share(line.fixed_s, copies.least_sample)
                    name = f"{' to '.join(route)} {nbytes} bytes by {engine}, {ways} way"
                    table.append([
                        " to ".join(route), engine, str(ways), str(nbytes), _us(line.fixed_s),
                        _us(told_s), _us(line.each_s), f"{off:.1%}",
                    ])  # fmt: skip
                    if abs(off) > MOST_OFF:
                        wrong.append(f"{name}: {off:.1%} of a sample is none of its copies")
                    if told_s is not None:
                        missed = line.share(told_s - line.fixed_s, copies.least_sample)
                        if abs(missed) > MOST_OFF:
                            wrong.append(f"{name}: rows tell {missed:+.1%} of a sample too much")
                    keep_so_far(folder, _few(wrong), MEANS, table)
    lines = [",".join(row) for row in table]
    (folder / "fixed-cost.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    right = f"at most {MOST_OFF:.0%} of any sample, and rows tell the same within that"
    return judge(_few(wrong), right, MEANS, table)


def _us(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.2f}"


def _few(wrong: list[str]) -> list[str]:
    most = 3
    return wrong if len(wrong) <= most else [*wrong[:most], f"and {len(wrong) - most} more"]
