"""A crossover in the lab, under a sine and a step: how wide its interval is beside other orders.

Four hosts, two links each; on the second link all rates are 5 % lower. A uses the first link and B
the second, so that B's time over A's is known. All rates swing by 20 % of what they are, once in
four launches, and fall by 20 % in the middle. `clusterbench ab` chooses the crossover by itself.
"""

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from provekit.provenance import cpus, kernel, mpi, today
from provekit.virtual import STATE, Lab

from bench.core.clock import utc_seconds
from bench.store.ab import AB_FILE, SIDES, read_ab
from bench.store.folder import open_run
from comparekit.designs import Answer, cross, follow, interleave
from comparekit.drift import drifting, swing_and_step
from comparekit.proved import Proved

HOSTS, RATE, MOST_RATE = 4, 50e6, "70mbit"
CPUS = 0.99
"""Of a host: with a core of its own a rank would be sampled again while others run on it, and the
pairs would no longer measure at the same time. All hosts share the cores of one machine."""
SLOWER = 0.95
"""Rate of the second link over that of the first."""
TRUTH = -math.log(SLOWER)
LEAST_GAIN = 3.0
"""Width of the interval of A before B over that of the crossover."""
ORDERS = 101
"""Random orders of plain interleaving, of which the middle one is shown."""
SUITE = """
[suite]
name = "crossing"
cap_s = 8
[[benchmark]]
name = "bandwidth"
bytes = "256 KiB"
window = 4
"""
_LINKS = {side: f"mca.btl_tcp_if_include=10.78.{link}.0/24" for link, side in enumerate(SIDES, 1)}


class Crossed(NamedTuple):
    """Launches of a crossover between two pairs."""

    log_s: NDArray[np.float64]
    """Logarithms of seconds, moments by pairs."""
    b_on: NDArray[np.int64]
    """The pair that ran B, at each moment."""
    launch_s: float
    """That a launch took, in the middle."""


def prove_crossover(launches: int) -> Proved:
    """Return the width of the interval of each order, and whether the crossover's is narrow enough.

    Args:
        launches: of each side; even.
    """
    lab = Lab({"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_mpi_yield_when_idle": "1"})
    shares = [f"--cpu=h{number}={CPUS}" for number in range(1, HOSTS + 1)]
    with (
        tempfile.TemporaryDirectory(prefix="clusterbench-proof-") as name,
        lab.up("--hosts", str(HOSTS), "--rate", MOST_RATE, "--links", "2", *shares),
    ):
        folder = Path(name)
        suite = folder / "crossing.toml"
        suite.write_text(SUITE, encoding="utf-8")
        rates = {"eth1": RATE, "eth2": SLOWER * RATE}
        with drifting(lambda: swing_and_step(position(folder), launches / 2), rates):
            lab.execute(
                *(sys.executable, "-m", "bench", "ab", str(suite), "--launches", str(launches)),
                *("--hostfile", str(STATE / "hostfile"), "--bind", "none", "--no-report"),
                *("--a", _LINKS["a"], "--b", _LINKS["b"], "-o", str(folder)),
                fails=True,  # B is slower
            )
        found = read_crossed(next(folder.glob(f"*/{AB_FILE}")).parent)
    return describe(found)


def position(folder: Path) -> float:
    """Return how many launches of each side have been measured below a folder, in parts too."""
    record = next(map(read_ab, (path.parent for path in folder.glob(f"*/{AB_FILE}"))), None)
    if record is None:
        return 0.0
    done = [slot.seconds for slot in record.slots if slot.seconds is not None]
    running = [slot.begun_utc for slot in record.slots if slot.state == "begun"]
    if not done or not running:
        return len(done) / 2
    since_s = time.time() - utc_seconds(str(running[0]))
    return len(done) / 2 + min(1.0, since_s / statistics.median(done))


def read_crossed(folder: Path) -> Crossed:
    """Return the launches of a comparison whose two pairs crossed over."""
    record = read_ab(folder)
    pairs = sorted({slot.hosts for slot in record.slots})
    if len(pairs) != 2:
        raise SystemExit(f"no crossover of two pairs: launches ran on {pairs}")
    times = {
        (side, row.launch): row.t_s for side in SIDES for row in open_run(folder / side).rows()
    }
    log_s = np.full((record.launches, 2), math.nan)
    b_on = np.zeros(record.launches, np.int64)
    for slot in record.slots:
        pair = pairs.index(slot.hosts)
        log_s[slot.launch, pair] = math.log(times[slot.side, slot.launch] or math.nan)
        if slot.side == SIDES[1]:
            b_on[slot.launch] = pair
    seconds = [slot.seconds for slot in record.slots if slot.seconds is not None]
    return Crossed(log_s, b_on, statistics.median(seconds))


def describe(found: Crossed) -> Proved:
    """Return a line for each order of the launches, and whether the claims hold."""
    moments = np.arange(len(found.log_s))
    # Without the known difference, any launch may be called one of A or of B.
    same = found.log_s.copy()
    same[moments, found.b_on] -= TRUTH
    plain = sorted((interleave(same, seed) for seed in range(ORDERS)), key=lambda a: a.half)
    answers = {
        "crossover": cross(same, found.b_on),
        "plain interleaving": plain[ORDERS // 2],
        "A, then B": follow(same),
    }
    crossed = answers["crossover"]
    lines = [
        "| order | B over A, truth 1 | interval of 95 % | width | widths of the crossover's |",
        "|---|---|---|---|---|",
    ]
    for name, answer in answers.items():
        low, high = ends(answer)
        lines.append(
            f"| {name} | {math.exp(answer.log_ratio):.3f} | {low:.3f} to {high:.3f} "
            f"| {100 * (high - low):.2f} % | {answer.half / crossed.half:.1f} |"
        )
    spread = math.exp(found.log_s.max() - found.log_s.min())
    lines += [
        "",
        f"{len(moments)} launches of each side, {found.launch_s:.0f} s each, the slowest "
        f"{spread:.2f} times the fastest; {today()}, {cpus()}, {kernel()}, {mpi()}.",
        "",
    ]
    gain = answers["A, then B"].half / crossed.half
    real = cross(found.log_s, found.b_on)
    low, high = ends(real)
    claims = {
        f"the interval of A before B is {gain:.1f} times as wide as that of the crossover, wanted "
        f"at least {LEAST_GAIN:g}": gain >= LEAST_GAIN,
        f"with its difference, B over A is {math.exp(real.log_ratio):.4f} ({low:.4f} to "
        f"{high:.4f}), the truth {math.exp(TRUTH):.4f}": real.holds(TRUTH),
    }
    lines += [f"- {'met' if met else 'MISSED'}: {claim}" for claim, met in claims.items()]
    return Proved("\n".join(lines), all(claims.values()))


def ends(answer: Answer) -> tuple[float, float]:
    """Return both ends of the interval of a ratio."""
    return math.exp(answer.log_ratio - answer.half), math.exp(answer.log_ratio + answer.half)
