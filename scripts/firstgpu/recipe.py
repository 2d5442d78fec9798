"""Copies by nvbandwidth's recipe, in a CUDA program of its own, beside ours, in turn."""

import shutil
import subprocess
from pathlib import Path
from statistics import median
from typing import NamedTuple

from firstgpu.answer import Answer, NotHereError, judge, keep_so_far
from firstgpu.gpu import open_device, open_pair

SOURCE = Path(__file__).with_name("recipe.cu")
SIZES = {2**29: (16, 0.01), 2**20: (64, 0.03)}
"""Copies of a sample, and how far ours may be off: by 1 % where the size hides all else."""
TURNS = 5
NAMES = ["copy", "bytes", "recipe GB/s", "ours GB/s", "ours / recipe", "spread of the recipe"]
MEANS = (
    "ours is what nvbandwidth would tell: within 1 % at 512 MiB, and at 1 MiB within 3 %, or "
    "within what the recipe differs from itself"
)


class Way(NamedTuple):
    """One kind of copy."""

    source: str
    target: str
    engine: str

    def __str__(self) -> str:
        return f"{self.source} to {self.target} by {self.engine}"


def build(folder: Path) -> Path:
    """Return the compiled program.

    Raises:
        NotHereError: where there is no compiler.
    """
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        raise NotHereError("no nvcc to compile the program with")
    program = folder / "recipe"
    subprocess.run([nvcc, "-O2", "-arch=native", "-o", program, SOURCE], check=True)
    return program


def read_rates(text: str) -> dict[Way, float]:
    """Return GB/s by way, as the program prints them."""
    lines = [line.split(",") for line in text.splitlines()]
    return {Way(*line[:3]): float(line[3]) for line in lines}


def measure_ours(nbytes: int, copies: int) -> dict[Way, float]:
    """Return GB/s by way, of this harness."""
    device, rates = open_device(), {}
    for route in (("pinned", "device"), ("device", "pinned"), ("device", "device")):
        for engine in ("copy-engine", "kernel"):
            pair = open_pair(route, nbytes)
            timed = device.open_copies([pair.transfer()], engine)
            seconds = median(timed.time(copies) for _ in range(3))
            rates[Way(*route, engine)] = nbytes / seconds / 1e9
    return rates


def ask(folder: Path) -> Answer:
    """Run both in turn, so that neither has the warmer GPU."""
    open_device()
    program = build(folder)
    table, wrong = [NAMES], []
    for nbytes, (copies, most_off) in SIZES.items():
        theirs: dict[Way, list[float]] = {}
        ours: dict[Way, list[float]] = {}
        for _ in range(TURNS):
            command = [str(program), str(nbytes), str(copies), "3"]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for found, kept in ((read_rates(said), theirs), (measure_ours(nbytes, copies), ours)):
                for way, rate in found.items():
                    kept.setdefault(way, []).append(rate)
            rows, off = compare(nbytes, theirs, ours, most_off)
            # Of a size that is not finished nothing is judged: its spread is not known yet.
            keep_so_far(folder, wrong, MEANS, table + rows)
        table, wrong = table + rows, wrong + off
    return judge(wrong, "the same rates", MEANS, table)


def compare(
    nbytes: int, theirs: dict[Way, list[float]], ours: dict[Way, list[float]], most_off: float
) -> tuple[list[list[str]], list[str]]:
    """Return rows of the table, and which of them are too far off."""
    rows, wrong = [], []
    for way, rates in theirs.items():
        ratio = median(ours[way]) / median(rates)
        spread = (max(rates) - min(rates)) / median(rates)
        rows.append([str(way), str(nbytes), f"{median(rates):.4g}",
                     f"{median(ours[way]):.4g}", f"{ratio:.4f}", f"{spread:.1%}"])  # fmt: skip
        if abs(ratio - 1) > max(most_off, spread):
            wrong.append(f"{way}, {nbytes} bytes: {ratio:.3f} of the recipe's")
    return rows, wrong
