"""Base units and their prefixes; the only conversion table.

Everything inside the program is in seconds, bytes, FLOP and their ratios. Text from people is
parsed here, numbers for people are formatted here. GB is 1e9 bytes and GiB is 2**30 bytes, never
one for the other.
"""

import math
import re
from decimal import Decimal

_SI = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_IEC = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_NUMBER = r"(\d{1,18}(?:\.\d{1,18})?)"
"""More digits name nothing that exists, and megabytes of them overflow a Decimal."""
_SIZE = re.compile(rf"{_NUMBER}\s*([kKMGT]?|[KMGT]i)B", re.ASCII)
_DURATION = re.compile(rf"{_NUMBER}\s*(ns|us|ms|s|min|h)", re.ASCII)
_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
}


def parse_bytes(text: str) -> int:
    """Return the bytes that `text` names, such as `8 B`, `4 MB` (decimal) or `1 KiB` (binary).

    Raises:
        ValueError: where the text is no size, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no size; write a number and a unit, such as '8 B' or '1 MiB'"
        )
    number, prefix = match.groups()
    size = Decimal(number) * (_IEC.get(prefix) or _SI[prefix])
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(size)


def parse_seconds(text: str) -> float:
    """Return the seconds that `text` names, such as `2us`, `0.5 s` or `10 min`.

    Raises:
        ValueError: where the text is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write a number and a unit, such as '2 us'")
    number, unit = match.groups()
    return float(Decimal(number) * _SECONDS[unit])


def format_bytes(size: float) -> str:
    """Return a size in IEC units where it is a whole number of them, else in SI units."""
    for prefix in reversed(_IEC):
        if size >= _IEC[prefix] and size % _IEC[prefix] == 0:
            return f"{int(size // _IEC[prefix])} {prefix}B"
    if size < 1000 and size == int(size):
        return f"{int(size)} B"
    return f"{_prefixed(size, _SI_UP)}B"


def format_seconds(seconds: float) -> str:
    """Return a duration with three significant digits and a fitting unit."""
    return f"{_prefixed(seconds, _SI_DOWN)}s"


def format_rate(rate: float, unit: str) -> str:
    """Return a rate with three significant digits; `unit` is `B/s`, `FLOP/s` or `messages/s`."""
    return f"{_prefixed(rate, _SI_UP)}{unit}"


_SI_UP = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SI_DOWN = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def _prefixed(value: float, scale: tuple[tuple[float, str], ...]) -> str:
    if not math.isfinite(value):
        return f"{value} "
    # 999.6 would print as 1e+03: step up where rounding to three digits reaches the next prefix.
    for factor, prefix in scale:
        if abs(value) >= factor * 0.9995:
            return f"{_three_digits(value / factor)} {prefix}"
    factor, prefix = scale[-1]
    return f"{_three_digits(value / factor)} {prefix}"


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value) * 1.0005)))}f}"
