"""Numbers of other MPI benchmarks: what they print, and ours in their units."""

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

_OSU_VERSION = re.compile(r"^# OSU MPI .* v(\S+)$", re.MULTILINE)
_IMB_VERSION = re.compile(r"Intel\(R\) MPI Benchmarks ([^,\s]+)")
_IMB_NAME = re.compile(r"^# Benchmarking (\S+)")
CLOSE = 0.05
"""The median over pairs may be so far from 1."""


class Compared(NamedTuple):
    """One number of a tool, and ours in the same unit, pair after pair."""

    what: str
    """The tool's program, and what was set."""
    size: str
    unit: str
    pairs: tuple[tuple[float, float], ...]
    """The tool's, ours."""

    @property
    def ratio(self) -> float:
        """The median over pairs of ours over the tool's."""
        return median(ours / theirs for theirs, ours in self.pairs)

    @property
    def close(self) -> bool:
        """Whether they are within 5 % of each other."""
        return abs(self.ratio - 1) <= CLOSE


def microseconds(seconds: float) -> float:
    """Return a time as OSU and IMB print it."""
    return seconds * 1e6


def mbytes_per_s(size: int, seconds: float, ways: int = 1) -> float:
    """Return 1e6 bytes per second as OSU and IMB print it; both ways together where there are two.

    Args:
        size: bytes of one message.
        seconds: for one message, or one each way.
        ways: directions that carry such a message in that time.
    """
    return ways * size / seconds / 1e6


def read_osu(text: str, size: int) -> float:
    """Return the first number of a size that a program of OSU Micro-Benchmarks printed.

    Microseconds of `osu_latency` and of collective calls (the mean over ranks of their means),
    else 1e6 bytes per second.

    Raises:
        ValueError: where there is none.
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == str(size):
            return float(words[1])
    raise ValueError(f"no line of {size} B in what the program printed: {text[-300:]}")


def read_imb(text: str, size: int) -> dict[str, dict[str, float]]:
    """Return the columns of a size by benchmark, as IMB-MPI1 names both.

    Raises:
        ValueError: where no benchmark has that size.
    """
    found: dict[str, dict[str, float]] = {}
    name, columns = "", [""]
    for line in text.splitlines():
        words = line.split()
        if match := _IMB_NAME.match(line):
            name = match[1]
        elif words[:1] == ["#bytes"]:
            columns = words
        elif len(words) == len(columns) and words[0] == str(size):
            found[name] = dict(zip(columns, map(float, words), strict=True))
    if not found:
        raise ValueError(f"no line of {size} B in what the program printed: {text[-300:]}")
    return found


def osu_version(text: str) -> str:
    """Return the version in what a program printed."""
    match = _OSU_VERSION.search(text)
    return f"OSU Micro-Benchmarks {match[1] if match else 'of an unknown version'}"


def imb_version(text: str) -> str:
    """Return the version in what IMB-MPI1 printed."""
    match = _IMB_VERSION.search(text)
    return f"Intel MPI Benchmarks {match[1] if match else 'of an unknown version'}"


def mean_over_ranks(samples: Mapping[int, Sequence[float]]) -> float:
    """Return the mean over ranks of the means of their own times, as both tools average a call."""
    means = [sum(times) / len(times) for times in samples.values()]
    return sum(means) / len(means)


def print_compared(rows: Sequence[Compared]) -> bool:
    """Print a Markdown table, and return whether all are close."""
    print(
        "| program | size | unit | its own | ours | ours / its | of single pairs | within 5 % |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        theirs, ours = (median(side) for side in zip(*row.pairs, strict=True))
        each = [mine / other for other, mine in row.pairs]
        print(
            f"| {row.what} | {row.size} | {row.unit} | {theirs:.4g} | {ours:.4g} | {row.ratio:.3f} "
            f"| {min(each):.2f} to {max(each):.2f} | {'yes' if row.close else 'NO'} |"
        )
    return all(row.close for row in rows)
