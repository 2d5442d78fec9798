"""What a program of perftest printed: the table of its results, or its last words.

Formats after its source at v4.5-0.17, and at its head of 2026-07, which names the same rate
MiB/sec. All of it is hostile text.
"""

import math
import re

from bench.contracts import VerbsError
from bench.core.errors import printable

_MOST_REASON = 200
_MIB = 2**20
_NUMBERS = re.compile(r"[\s\d.]+", re.ASCII)
_UNIT = re.compile(r"BW average\[(\S{1,8})/sec\]")
_UNITS = {"MB": _MIB, "MiB": _MIB, "Gb": 125e6}
"""Bytes; older versions call 2^20 of them MB."""
_HALF_DIGIT = 0.5
"""Messages/s: MsgRate has six decimals of a million."""


def parse_result(text: str, nbytes: int, messages: int) -> float:
    """Return the seconds of one message: of a rate its inverse, of a latency half a round trip.

    A rate comes as bytes per second with two decimals and as messages with six: the finer one is
    taken. Of latencies it is the median (`t_typical`), in steps of 10 ns.

    Raises:
        VerbsError: where there is no table of this message, or its numbers contradict.
    """
    lines = text.splitlines()
    place = next((i for i, line in enumerate(lines) if line.split()[:1] == ["#bytes"]), None)
    if place is None:
        raise VerbsError(f"no table of results: {last_words(text) or 'nothing printed'}")
    # Warnings about the CPU's frequency may come between.
    rows = [
        line.split() for line in lines[place + 1 :] if _NUMBERS.fullmatch(line) and line.split()
    ]
    try:
        numbers = [float(word) for word in rows[0]] if rows else []
    except ValueError:
        numbers = []
    if len(numbers) < 5 or numbers[0] != nbytes or numbers[1] < min(5, messages):
        raise VerbsError(f"no result of {nbytes} bytes: {last_words(text)}")
    if "t_typical" in lines[place]:
        return _positive(numbers[4] * 1e-6)
    unit = _UNIT.search(lines[place])
    if unit is None or unit[1] not in _UNITS:
        raise VerbsError(f"a rate in no known unit: {printable(lines[place], _MOST_REASON)}")
    unit_messages = _UNITS[unit[1]] / nbytes
    return _seconds_of_rates(numbers[3] * unit_messages, 0.005 * unit_messages, numbers[4] * 1e6)


def _seconds_of_rates(rate: float, step: float, messages: float) -> float:
    """Return the time of a message from two rates of messages/s, one with half its last digit."""
    if abs(rate - messages) > 2 * (step + _HALF_DIGIT) + 0.01 * max(rate, messages):
        raise VerbsError(f"rates of {rate:.6g} and {messages:.6g} messages/s contradict")
    finer = rate if step * messages <= _HALF_DIGIT * rate else messages
    return _positive(1 / finer if finer > 0 else math.inf)


def _positive(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise VerbsError("a result of no time")
    return seconds


def last_words(text: str) -> str:
    """Return the last line that is not empty, as a reason may show it."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"[A-Za-z]", line)]
    return printable(lines[-1], _MOST_REASON) if lines else ""
