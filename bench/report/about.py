"""What a finding is about and what it held against what, in a few words."""

import sys
from collections.abc import Iterable

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts, split_part
from bench.core.records import About, Finding, Value
from bench.core.units import format_bytes, format_rate, format_seconds

_MOST_NAMES = 4
"""Cases, or kinds of parts, that are named; the finding itself has them all."""


def describe_about(finding: Finding) -> str | None:
    """Return what a finding is about and its value beside its limit; None where nothing is known.

    Hosts are folded, such as `node[1-3]:gpu2; 8 against 16 lanes`.
    """
    words = [*_places(finding.about), *_cases(finding.about.cases), *_amounts(finding)]
    return "; ".join(words) or None


def _places(about: About) -> Iterable[str]:
    if not about.parts:
        if about.hosts:
            yield fold_hosts(about.hosts)
        return
    hosts: dict[str, list[str]] = {}
    for part in about.parts:
        host, name = split_part(part)
        hosts.setdefault(name, []).append(host)
    named = [":".join(filter(None, (fold_hosts(of), name))) for name, of in hosts.items()]
    yield _shorten(named, "parts")


def _cases(cases: tuple[str, ...]) -> Iterable[str]:
    if cases:
        yield _shorten([printable(case, 100) for case in cases], "cases")


def _shorten(names: list[str], what: str) -> str:
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {more} more {what}" if more > 0 else shown


def _amounts(finding: Finding) -> Iterable[str]:
    amounts = [
        _amount(amount, finding.unit)
        for amount in (finding.value, finding.limit)
        if amount is not None
    ]
    if amounts:
        yield " against ".join(amounts)


def _amount(value: Value, unit: str | None) -> str:
    if isinstance(value, str) or abs(value) > sys.float_info.max:
        return printable(value, 100)
    match unit:
        case "s":
            return format_seconds(value)
        case "B":
            return format_bytes(value)
        case "B/s":
            return format_rate(value, unit)
        case None | "ratio":
            return f"{value:.4g}"
        case _:
            return f"{value:.4g} {printable(unit)}"
