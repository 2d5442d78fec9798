"""Samples of some cases out of a file of millions, without the others in memory.

The lines of a case begin alike, and those of a launch stand together, as they were written in front
of its row: they are found by how they begin, and no other line is taken apart.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import RequestError, printable
from bench.store.tables import csv_text

_PIECE_BYTES = 4 << 20


class Samples(NamedTuple):
    """Samples of one case, in the order of the file."""

    launch: NDArray[np.int64]
    sample: NDArray[np.int64]
    rank: NDArray[np.int64]
    seconds: NDArray[np.float64]

    def between(self, start: int, end: int) -> "Samples":
        """Return those from one place up to another."""
        lines = slice(start, end)
        return Samples(
            self.launch[lines], self.sample[lines], self.rank[lines], self.seconds[lines]
        )


def find_samples(path: Path, case: str) -> Samples:
    """Return the samples of one case in all its launches, none where there are none.

    Memory grows with these alone, and time with the size of the file by little more than it takes
    to read it.

    Raises:
        RequestError: where the file cannot be read, or a line of the case is damaged.
    """
    beginning = csv_text([[case, ""]]).encode().rstrip(b"\n")
    block = re.compile(rb"(?:%b[^\n]*+\n)++" % re.escape(beginning))
    found = []
    for lines in _pieces(path):
        start = 0 if lines.startswith(beginning) else lines.find(b"\n" + beginning) + 1
        while start or lines.startswith(beginning):
            match = block.match(lines, start)
            end = match.end() if match else start
            found.append(lines[start:end])
            start = lines.find(b"\n" + beginning, end) + 1
            if not start:
                break
    return _parse(b"".join(found), beginning, path)


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield whole lines, some MiB at a time, behind the header, up to the first zero byte."""
    try:
        with path.open("rb") as file:
            # A case may be called as a column is.
            file.readline()
            while lines := file.read(_PIECE_BYTES):
                lines += file.readline()
                zero = lines.find(b"\0")
                if zero >= 0 or not lines.endswith(b"\n"):
                    yield lines[: lines.rfind(b"\n", 0, zero if zero >= 0 else None) + 1]
                    return
                yield lines
    except FileNotFoundError:
        return
    except OSError as error:
        raise _damage(path, error) from error


def _parse(lines: bytes, beginning: bytes, path: Path) -> Samples:
    """Return the numbers of lines that all begin so."""
    numbers = lines.replace(b"\n" + beginning, b"\n")[len(beginning) :]
    try:
        columns = np.loadtxt(io.BytesIO(numbers), delimiter=",", ndmin=2) if numbers else _NONE
        launch, sample, rank, seconds = columns.T
    except ValueError as error:
        shown = beginning.rstrip(b",").decode(errors="replace")
        raise _damage(path, f"samples of {shown}: {error}") from error
    return Samples(launch.astype(int), sample.astype(int), rank.astype(int), seconds)


_NONE = np.empty((0, 4))


def _damage(path: Path, why: object) -> RequestError:
    return RequestError(
        f"{printable(path, 400)} cannot be read: {printable(why, 300)}; the file was changed or "
        "damaged"
    )
