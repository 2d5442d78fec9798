"""Names of hosts from people and files: checked before they reach any command.

A name that began with a dash would be an option to ssh (`-oProxyCommand=...` runs a program), so
names follow a strict grammar or are refused. A set such as `node[001-128,200]` is counted before
it is expanded.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.core.errors import RequestError, printable
from bench.core.toml import read_text

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_TERM = re.compile(r"(?:[A-Za-z0-9._-]|\[[0-9,-]+\])+", re.ASCII)
_RANGES = re.compile(r"\[([0-9,-]+)\]", re.ASCII)
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_PIECE = re.compile(r"\[[^\]]*\]?|,|[^,\[]+")
_SLOTS = re.compile(r"(?::\d{1,6}|\s+(?:max_)?slots\s*=\s*\d{1,6})*\s*", re.ASCII)
_MOST_HOSTS = 100_000


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a comma-separated list of names, sets and addresses, in order.

    Raises:
        RequestError: where a name is no host name, or stands there twice.
    """
    names = _expand(_split_terms(text), "--hosts")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RequestError(f"--hosts: {name} stands there twice; name each host once")
        seen.add(name)
    return tuple(names)


def _split_terms(text: str) -> list[str]:
    """Return what stands between commas, those inside brackets aside."""
    terms = [""]
    for piece in _PIECE.findall(text):
        if piece == ",":
            terms.append("")
        else:
            terms[-1] += piece
    return [term.strip() for term in terms]


def read_hostfile(path: Path) -> tuple[str, ...]:
    """Return the hosts of a file with one on each line; slots and comments are passed over.

    Ranks are spread evenly over the hosts, so slots, which MPI's own files have, are not needed,
    and a host on several lines, which PBS writes for several slots, is one host.

    Raises:
        RequestError: where the file cannot be read or holds what is no host name.
    """
    source = f"--hostfile {printable(path, 200)}"
    try:
        lines = read_text(path, "host").splitlines()
    except RequestError as error:
        raise RequestError(f"{source}: {error}") from error
    entries = (line.partition("#")[0].strip() for line in lines)
    terms = [_without_slots(entry) for entry in entries if entry]
    return tuple(dict.fromkeys(_expand(terms, source)))


def _without_slots(entry: str) -> str:
    match = _TERM.match(entry)
    return match[0] if match and _SLOTS.fullmatch(entry, match.end()) else entry


def _expand(terms: Iterable[str], source: str) -> list[str]:
    """Return every name of the terms, in their order.

    Raises:
        RequestError: where there is none, too many, or a term is neither a name, a set nor an
            address.
    """
    names: list[str] = []
    for term in terms:
        pieces = _pieces(term, source)
        if len(names) + sum(map(_count, pieces)) > _MOST_HOSTS:
            raise RequestError(f"{source}: over {_MOST_HOSTS} hosts")
        for piece in pieces:
            names += _expand_set(piece, source) if _is_set(piece) else [piece]
    if not names or names == [""]:
        raise RequestError(f"{source}: no host in it; name at least one, such as node1,node2")
    for name in names:
        if not is_host(name):
            raise RequestError(f"{source}: {printable(name)!r} is {_no_host(name)}")
    return names


def _no_host(name: str) -> str:
    if "[" in name:
        return "no set of hosts; write it as node[001-128,200], without steps, groups or operators"
    return (
        "no host name; use letters, digits, '.', '_' and '-', beginning and ending with a letter "
        "or digit"
    )


def _pieces(term: str, source: str) -> list[str]:
    """Return a term with one range in each bracket, in the order in which they stand there.

    A term that is no set stays as it is, an IPv6 address without its brackets.
    """
    address = _ipv6(term)
    if address is not None:
        return [address]
    if not _is_set(term):
        return [term]
    pieces = [""]
    end = 0
    for match in _RANGES.finditer(term):
        ranges = match[1].split(",")
        if not all(_RANGE.fullmatch(part) for part in ranges):
            raise RequestError(
                f"{source}: {printable(term)!r} is no set of hosts; write it as node[001-128,200]"
            )
        # Counted before it is multiplied out.
        if len(pieces) * len(ranges) > _MOST_HOSTS:
            raise RequestError(f"{source}: over {_MOST_HOSTS} hosts")
        pieces = [f"{p}{term[end : match.start()]}[{part}]" for p in pieces for part in ranges]
        end = match.end()
    return [f"{piece}{term[end:]}" for piece in pieces]


def _is_set(term: str) -> bool:
    return "[" in term and _TERM.fullmatch(term) is not None


def _count(piece: str) -> int:
    """Return how many names a piece stands for, from the ends of its ranges."""
    count = 1
    for match in _RANGES.finditer(piece):
        low, _, high = match[1].partition("-")
        count *= max(0, int(high) - int(low)) + 1 if high else 1
    return count


def _expand_set(piece: str, source: str) -> Iterator[str]:
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    try:
        yield from map(str, NodeSet(piece, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise RequestError(
            f"{source}: {printable(piece)!r} is no set of hosts: {printable(error, 120)}"
        ) from error


def is_host(name: str) -> bool:
    """Return whether a name can be given to a command as a host."""
    return _HOST.fullmatch(name) is not None or _ipv6(name) == name


def _ipv6(text: str) -> str | None:
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
