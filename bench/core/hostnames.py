"""Names of hosts from people and files: checked before they reach any command.

A name that began with a dash would be an option to ssh (`-oProxyCommand=...` runs a program), so
names follow a strict grammar or are refused.
"""

import ipaddress
import re
from collections.abc import Iterable
from itertools import groupby

from bench.core.errors import printable

_NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*)", re.ASCII)
"""A name by its last number."""
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)


def is_host(name: str) -> bool:
    """Return whether a name can be given to a command as a host."""
    return _HOST.fullmatch(name) is not None or parse_ipv6(name) == name


def parse_ipv6(text: str) -> str | None:
    """Return an IPv6 address without brackets; None for what is none."""
    if ":" not in text:
        return None
    bare = text[1:-1] if text[0] + text[-1] == "[]" else text
    try:
        return None if "%" in bare else str(ipaddress.IPv6Address(bare))
    except ValueError:
        return None


def fold_hosts(names: Iterable[str]) -> str:
    """Return hosts as one text for people, such as `node[1-3,7],vm`; each once.

    A name that is no host's comes last and as it is, escaped: brackets or commas in it would mean
    other hosts.
    """
    # Only where findings are made: commands that print a plan have no use for it.
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    every = sorted(set(names))
    known = [name for name in every if _HOST.fullmatch(name)]
    odd = [printable(name) for name in every if not _HOST.fullmatch(name)]
    folded = str(NodeSet.fromlist(known, resolver=RESOLVER_NOGROUP))
    return ",".join([folded, *odd] if folded else odd)


def fold_in_order(names: Iterable[str]) -> str:
    """Return hosts as one text that is read as the same hosts in the same order."""
    terms: list[str] = []
    found = map(_by_number, names)
    for (prefix, suffix, _), same in groupby(found, key=lambda one: (*one[:2], bool(one[2]))):
        numbers = [digits for _, _, digits in same]
        several = len(numbers) > 1
        terms.append(
            f"{prefix}[{_fold_numbers(numbers)}]{suffix}"
            if several
            else f"{prefix}{numbers[0]}{suffix}"
        )
    return ",".join(terms)


def _by_number(name: str) -> tuple[str, str, str]:
    """Return what stands before and after the last number of a name, and its digits."""
    match = None if ":" in name else _NUMBERED.fullmatch(name)
    return (match[1], match[3], match[2]) if match else (name, "", "")


def _fold_numbers(numbers: list[str]) -> str:
    """Return numbers as ranges where each is one more than the one before."""
    runs: list[list[str]] = []
    for digits in numbers:
        last = runs[-1][-1] if runs else ""
        if last and digits == f"{int(last) + 1:0{len(last)}d}":
            runs[-1].append(digits)
        else:
            runs.append([digits])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def part(host: str, name: str) -> str:
    """Return a part of a host, such as `node1:rank0`, `node1:nic3` or `[fd00::12]:gpu0`."""
    return f"[{host}]:{name}" if ":" in host else f"{host}:{name}"


_PART = re.compile(r"(.+):([a-z]+\d+(?::[rt]x)?)", re.ASCII)


def split_part(text: str) -> tuple[str, str]:
    """Return the host, or switch, and the name of a part, such as `node1` and `nic3:tx`.

    What is no part is a host without one.
    """
    match = _PART.fullmatch(text)
    host, name = (match[1], match[2]) if match else (text, "")
    return host.removeprefix("[").removesuffix("]"), name


def host_of(place: str) -> str:
    """Return the host of a part, or of a place that is a whole host."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    # What is no part and holds two colons is an IPv6 address that stands alone.
    return place if place.count(":") > 1 else place.partition(":")[0]
