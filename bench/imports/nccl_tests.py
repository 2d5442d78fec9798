"""Tables of nccl-tests, as its programs print them; nothing in a log is believed unchecked.

Columns are those that the log's own header names, so that old tables (`error`, no `root`) and new
ones (`#wrong`) read alike. A line that looks like data and is not is named, never skipped silently.
Format: NVIDIA nccl-tests, `src/common.cu` (seen: `error` tables of 2.0, `#wrong` tables of 2.13).
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from bench.core.errors import RequestError, printable

MOST_CHARACTERS = 2**26
MOST_SECONDS = 1e6
MOST_BYTES = 2**62
RATE_STEP = 0.006
"""GB/s: rates are printed with two digits after the point."""
RATE_TOLERANCE = 0.01
"""Times are printed with four digits, so that size / time is the rate within less than this."""

_TAG = re.compile(r"^\[\d+,\d+\]<std(?:out|err)>:\s?")
"""What `mpirun --tag-output` puts before every line."""
_WHOLE = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?(?:e[+-]?[0-9]{1,2})?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_]{1,20}")
_STARTS = re.compile(r"#\s*Collective test starting:\s*(\w{1,40})")
_DEVICE = re.compile(r"#\s+Rank\s+\d+\s.*\[0x[0-9a-fA-F]+\]\s+(\S.{0,80}?)\s*$")
_BOUNDS = re.compile(r"#\s*Out of bounds values\s*:\s*([0-9]{1,18})\b")
_LEADING = ("size", "count", "type")
_TIMED = ("time", "algbw", "busbw")
_CHECKS = ("#wrong", "error")


class Timing(msgspec.Struct, frozen=True):
    """One way of running the operation, out of place or in place."""

    seconds: float
    algorithm_rate: float
    """Bytes per second, as printed: two digits after the point of GB/s."""
    bus_rate: float
    wrong: int | None
    """Wrong elements; None where the log does not count them."""


class Line(msgspec.Struct, frozen=True):
    """One size of the table."""

    size: int
    """Bytes, as the program counts them for this operation."""
    count: int
    dtype: str
    redop: str | None
    root: int | None
    """None where there is none: no column, or -1."""
    out_of_place: Timing
    in_place: Timing | None


class Log(msgspec.Struct, frozen=True):
    """Everything of a log that means something."""

    operation: str | None
    """Such as `all_reduce_perf`; None where the log does not say."""
    devices: tuple[str, ...]
    """Of each rank; empty where the log does not say."""
    lines: tuple[Line, ...]
    out_of_bounds: int | None
    """Wrong values that the program counted in all; None where it did not get so far."""
    problems: tuple[str, ...]
    """Lines that look like data and are none."""


class _Columns(NamedTuple):
    """Names of columns, in order, and how many times the operation was timed."""

    names: tuple[str, ...]
    timings: int


def read_log(text: str, name: str = "the log") -> Log:
    """Read what one program of nccl-tests printed; other lines between its own are passed over.

    Raises:
        RequestError: where there is no table, or its columns are none that this reader knows.
    """
    if len(text) > MOST_CHARACTERS:
        raise RequestError(f"{name}: longer than {MOST_CHARACTERS} characters; cut it to its table")
    columns: _Columns | None = None
    lines: list[Line] = []
    problems: list[str] = []
    operation, devices, out_of_bounds = None, [], None
    for number, raw in enumerate(text.split("\n"), 1):
        line = _TAG.sub("", raw.rstrip("\r"))
        if line.startswith("#"):
            columns = _read_header(line, columns, f"{name}, line {number}")
            operation = _found(_STARTS, line) or operation
            devices += [device] if (device := _found(_DEVICE, line)) else []
            bounds = _found(_BOUNDS, line)
            out_of_bounds = out_of_bounds if bounds is None else int(bounds)
        elif columns is not None and _is_data(line):
            try:
                lines.append(_read_line(line.split(), columns))
            except ValueError as error:
                problems.append(f"line {number}: {error}: {printable(line.strip())}")
    if columns is None:
        raise RequestError(
            f"{name}: no table of nccl-tests: no line that starts with # and names size, count, "
            "type and time"
        )
    return Log(operation, tuple(devices), tuple(lines), out_of_bounds, tuple(problems))


def _found(pattern: re.Pattern[str], line: str) -> str | None:
    match = pattern.match(line)
    return None if match is None else printable(match[1], 80)


def _is_data(line: str) -> bool:
    words = line.split(None, 2)
    return len(words) > 2 and all(word.isascii() and word.isdigit() for word in words[:2])


def _read_header(line: str, known: _Columns | None, where: str) -> _Columns | None:
    """Return the columns that this line names, or those known before it."""
    words = tuple(line[1:].split())
    if words[:3] == _LEADING and "time" in words:
        columns = _Columns(words, words.count("time"))
        if tuple(_expected(columns)) != words or columns.timings > 2:
            raise RequestError(f"{where}: columns that are not known: {printable(line, 120)}")
        if known is not None and known != columns:
            raise RequestError(f"{where}: a second table with other columns; give one at a time")
        return columns
    if known is not None and words[:2] == ("(B)", "(elements)"):
        expected = ("(B)", "(elements)", *("(us)", "(GB/s)", "(GB/s)") * known.timings)
        if words != expected:
            raise RequestError(f"{where}: units that are not known: {printable(line, 120)}")
    return known


def _expected(columns: _Columns) -> Iterator[str]:
    """Yield the columns that such a table has, with those that only some have where it has them."""
    yield from _LEADING
    yield from (name for name in ("redop", "root") if name in columns.names)
    check = next((name for name in _CHECKS if name in columns.names), None)
    for _ in range(columns.timings):
        yield from _TIMED
        if check is not None:
            yield check


def _read_line(words: list[str], columns: _Columns) -> Line:
    if len(words) != len(columns.names):
        raise ValueError(f"{len(words)} columns of {len(columns.names)}")
    width = (len(words) - columns.names.index("time")) // columns.timings
    first = columns.names.index("time")
    named = dict(zip(columns.names[:first], words[:first], strict=True))
    size, count = _whole(named["size"]), _whole(named["count"])
    checks = "#wrong" in columns.names
    timings = [
        _read_timing(words[first + i * width : first + (i + 1) * width], size, checks)
        for i in range(columns.timings)
    ]
    root = named.get("root", "-1")
    if root != "-1" and not _WHOLE.fullmatch(root):
        raise ValueError("a root that is no rank")
    return Line(
        size=size,
        count=count,
        dtype=_word(named["type"]),
        redop=_word(named["redop"]) if "redop" in named else None,
        root=None if root == "-1" else int(root),
        out_of_place=timings[0],
        in_place=timings[1] if len(timings) > 1 else None,
    )


def _read_timing(words: list[str], size: int, checks: bool) -> Timing:
    microseconds, algorithm, bus = (_decimal(word) for word in words[:3])
    seconds = microseconds * 1e-6
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError("a time that is not above 0")
    rate = size / seconds / 1e9
    if abs(rate - algorithm) > RATE_TOLERANCE * rate + RATE_STEP:
        raise ValueError("a rate that is not size / time")
    wrong = _whole(words[3]) if checks and words[3] != "N/A" else None
    return Timing(seconds, algorithm * 1e9, bus * 1e9, wrong)


def _whole(word: str) -> int:
    if not _WHOLE.fullmatch(word) or not 0 <= int(word) <= MOST_BYTES:
        raise ValueError("not a whole number from 0")
    return int(word)


def _decimal(word: str) -> float:
    if not _DECIMAL.fullmatch(word) or not math.isfinite(float(word)):
        raise ValueError("not a number")
    return float(word)


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("not a word")
    return text
