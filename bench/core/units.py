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
_MEASURE = re.compile(rf"{_NUMBER}\s*([KMGT]i|[kKMGT]?)([A-Za-z/]+)", re.ASCII)
_SHARE = re.compile(rf"{_NUMBER}\s*(%?)", re.ASCII)
_BITS_PER_BYTE = 8
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


def parse_share(text: str) -> float:
    """Return the share that `text` names, such as `1%`, `0.5 %` or `0.01`.

    Raises:
        ValueError: where the text is no share.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no share; write a percentage or a number, such as '1%'")
    number, percent = match.groups()
    return float(Decimal(number) / (100 if percent else 1))


def parse_rate(text: str) -> float:
    """Return the bytes per second that `text` names: `5 GB/s`, `40 Gbit/s` or `1 GiB/s`.

    A bit rate is decimal, as every vendor's is, and eight bits are a byte: whether they are
    payload or still coded for the line is the caller's to know.

    Raises:
        ValueError: where the text is no rate of data.
    """
    if text.strip().endswith("bit/s"):
        return parse_measure(text, "bit/s") / _BITS_PER_BYTE
    try:
        return parse_measure(text, "B/s")
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no rate; write a number and a unit, such as '5 GB/s' or '40 Gbit/s'"
        ) from error


def parse_measure(text: str, unit: str) -> float:
    """Return the number of `unit` that `text` names, such as `837 MHz` for the unit `Hz`.

    Args:
        text: a number, a prefix (decimal, or binary where the unit counts bytes) and the unit.
        unit: `FLOP/s`, `Hz`, `bit/s`, `B/s` or another of letters and strokes.

    Raises:
        ValueError: where the text is none.
    """
    match = _MEASURE.fullmatch(text.strip())
    if match is None or match[3] != unit or (match[2] in _IEC and not unit.startswith("B")):
        raise ValueError(f"{text!r} has not the unit {unit}; write such as '4.5 G{unit}'")
    number, prefix, _ = match.groups()
    return float(Decimal(number) * (_IEC.get(prefix) or _SI[prefix]))


def format_bytes(size: float) -> str:
    """Return a size in IEC units where it is a whole number of them, else in SI units."""
    for prefix in reversed(_IEC):
        if size >= _IEC[prefix] and size % _IEC[prefix] == 0:
            return f"{int(size // _IEC[prefix])} {prefix}B"
    if size < 1000 and size == int(size):
        return f"{int(size)} B"
    return f"{_prefixed(size, _SI_UP)}B"


def format_seconds(seconds: float, digits: int = 3) -> str:
    """Return a duration with three significant digits, or as many as given, and a fitting unit."""
    return f"{_prefixed(seconds, _SI_DOWN, digits)}s"


def format_rate(rate: float, unit: str, digits: int = 3) -> str:
    """Return a rate with three significant digits; `unit` is `B/s`, `FLOP/s` or `messages/s`."""
    return f"{_prefixed(rate, _SI_UP, digits)}{unit}"


_SI_UP = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SI_DOWN = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def _prefixed(value: float, scale: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    if not math.isfinite(value):
        return f"{value} "
    # 999.6 would print as 1e+03: step up where rounding reaches the next prefix.
    rounds_up = 1 - 0.5 * 10.0**-digits
    for factor, prefix in scale:
        if abs(value) >= factor * rounds_up:
            return f"{format_number(value / factor, digits)} {prefix}"
    factor, prefix = scale[-1]
    return f"{format_number(value / factor, digits)} {prefix}"


def format_number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no power of ten."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value) * (1 + 0.5 * 10.0**-digits)))
    return f"{value:.{max(0, digits - 1 - magnitude)}f}"
