"""What a finding is about and what it held against what, in a few words."""

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts, split_part
from bench.core.records import Finding, Value
from bench.core.units import format_bytes, format_rate, format_seconds

_SCALED: dict[str | None, Callable[[float], str]] = {
    "s": format_seconds,
    "B": format_bytes,
    "B/s": partial(format_rate, unit="B/s"),
}
"""Units that are written with a prefix."""
_MOST_NAMES = 4
"""Cases, or kinds of parts, that are named; the finding itself has them all."""


def describe_about(finding: Finding) -> str | None:
    """Return what a finding is about and its value beside its limit; None where nothing is known.

    Hosts are folded, such as `node[1-3]:gpu2; 8 against 16 lanes`.
    """
    words = [*_places(finding), *_cases(finding.about.cases), *_amounts(finding)]
    return "; ".join(words) or None


def _places(finding: Finding) -> Iterable[str]:
    about = finding.about
    if not about.parts:
        hosts = fold_hosts(about.hosts)
        # Many findings begin with their hosts.
        if hosts and not re.search(rf"(?<![\w.-]){re.escape(hosts)}(?![\w-])", finding.text):
            yield hosts
        return
    hosts_of: dict[str, list[str]] = {}
    for part in about.parts:
        host, name = split_part(part)
        hosts_of.setdefault(name, []).append(host)
    named = [":".join(filter(None, (fold_hosts(of), name))) for name, of in hosts_of.items()]
    yield _shorten(named, "parts")


def _cases(cases: tuple[str, ...]) -> Iterable[str]:
    if cases:
        yield _shorten([printable(case, 100) for case in cases], "cases")


def _shorten(names: list[str], what: str) -> str:
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {more} more {what}" if more > 0 else shown


def _amounts(finding: Finding) -> Iterable[str]:
    unit = finding.unit if finding.unit not in (None, "ratio", *_SCALED) else None
    amounts = [
        _amount(amount, finding.unit)
        for amount in (finding.value, finding.limit)
        if amount is not None
    ]
    if amounts:
        yield " against ".join(amounts) + (f" {printable(unit)}" if unit else "")


def _amount(value: Value, unit: str | None) -> str:
    if isinstance(value, str) or abs(value) > sys.float_info.max:
        return printable(value, 100)
    return _SCALED[unit](value) if unit in _SCALED else f"{value:.4g}"
