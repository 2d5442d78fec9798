"""Sets of hosts such as `node[001-128,200]`: counted before they are expanded, kept in order."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from bench.core.errors import RequestError, printable
from bench.core.hostnames import is_host, parse_ipv6

MOST_HOSTS = 100_000

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)
_NONE_YET = re.compile(r"\(.*\)|none assigned|n/a", re.IGNORECASE)
"""What Slurm prints in place of nodes: `(null)`, `None assigned`, `(Priority)`."""
_MOST_NESTED = 4


class _Range(NamedTuple):
    low: int
    high: int
    width: int
    """Digits at least, with zeros before them."""

    def size(self) -> int:
        return self.high - self.low + 1

    def texts(self) -> Iterator[str]:
        return (f"{number:0{self.width}d}" for number in range(self.low, self.high + 1))


class _Choices(NamedTuple):
    """What one pair of brackets stands for, in its order."""

    choices: "tuple[_Range | _Product, ...]"

    def size(self) -> int:
        return sum(choice.size() for choice in self.choices)

    def texts(self) -> Iterator[str]:
        return itertools.chain.from_iterable(choice.texts() for choice in self.choices)


class _Product(NamedTuple):
    """Brackets and what stands between them; the first bracket turns slowest."""

    parts: "tuple[str | _Choices, ...]"

    def size(self) -> int:
        return math.prod(part.size() for part in self.parts if isinstance(part, _Choices))

    def texts(self) -> Iterator[str]:
        pieces = [(part,) if isinstance(part, str) else tuple(part.texts()) for part in self.parts]
        return map("".join, itertools.product(*pieces))


def expand_term(term: str, source: str) -> list[str]:
    """Return the hosts of a name, a set or an address, in order.

    Raises:
        RequestError: where it is none of them, or stands for too many.
    """
    address = parse_ipv6(term)
    if address is not None:
        return [address]
    if "[" not in term and "]" not in term:
        names = [term]
    else:
        parsed = _parse(term, _Place(term, source))
        if parsed.size() > MOST_HOSTS:
            raise RequestError(f"{source}: over {MOST_HOSTS} hosts")
        names = list(parsed.texts())
    for name in names:
        if not is_host(name):
            raise RequestError(f"{source}: {printable(name)!r} is {_no_host(name)}")
    return names


def is_set(term: str) -> bool:
    """Return whether a term has brackets that are not those of an address."""
    return "[" in term and parse_ipv6(term) is None


def split_terms(text: str) -> list[str]:
    """Return what stands between commas, those inside brackets aside."""
    terms, depth = [""], 0
    for piece in re.findall(r"[\[\],]|[^\[\],]+", text):
        depth += (piece == "[") - (piece == "]" and depth > 0)
        if piece == "," and depth == 0:
            terms.append("")
        else:
            terms[-1] += piece
    return [term.strip() for term in terms]


def expand_terms(terms: list[str], source: str) -> list[str]:
    """Return the hosts of several terms.

    Raises:
        RequestError: where a term is none, or there are too many hosts, or none.
    """
    names: list[str] = []
    for term in terms:
        names += expand_term(term, source)
        if len(names) > MOST_HOSTS:
            raise RequestError(f"{source}: over {MOST_HOSTS} hosts")
    return names


def refuse_no_nodes(text: str, source: str) -> None:
    """Refuse what stands for no hosts at all.

    Raises:
        RequestError: where a text is empty, or what Slurm prints where no node is assigned.
    """
    if not text.strip():
        raise RequestError(f"{source}: no host in it; name at least one, such as node1,node2")
    if _NONE_YET.fullmatch(text.strip()):
        raise RequestError(
            f"{source}: {printable(text.strip())!r} is what Slurm prints where a job has no nodes; "
            "name them once it runs"
        )


class _Place(NamedTuple):
    """Where a set stands, for messages."""

    term: str
    source: str

    def error(self, why: str) -> RequestError:
        return RequestError(
            f"{self.source}: {printable(self.term)!r} is no set of hosts: {why}; "
            "write it as node[001-128,200]"
        )


def _parse(text: str, place: _Place, depth: int = 0) -> _Product:
    """Return the parts of a term, or of what stands in its brackets."""
    parts: list[str | _Choices] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            end = _closing(text, at, place)
            parts.append(_parse_choices(text[at + 1 : end], place, depth))
            at = end + 1
        else:
            plain = _PLAIN.match(text, at)
            if plain is None or not plain[0]:
                if text[at] == "]":
                    raise place.error("a bracket closes that was never opened")
                raise place.error(f"{printable(text[at])!r} has no meaning in it")
            parts.append(plain[0])
            at = plain.end()
    return _Product(tuple(parts))


def _closing(text: str, start: int, place: _Place) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "[") - (text[at] == "]")
        if depth == 0:
            return at
    raise place.error("a bracket is never closed, as where a narrow column has cut it")


def _parse_choices(text: str, place: _Place, depth: int) -> _Choices:
    if depth == _MOST_NESTED:
        raise place.error(f"brackets nested over {_MOST_NESTED} deep")
    choices: list[_Range | _Product] = []
    for item in split_terms(text):
        match = _RANGE.fullmatch(item)
        if match is not None:
            choices.append(_read_range(match, place))
        elif "[" in item and item[0].isdigit():
            choices.append(_parse_nested(item, place, depth + 1))
        elif "/" in item or ":" in item:
            raise place.error("sets have no steps; write each number or range out")
        else:
            raise place.error(f"{printable(item)!r} is neither a number nor a range")
    return _Choices(tuple(choices))


def _parse_nested(item: str, place: _Place, depth: int) -> _Product:
    """Return digits and brackets within brackets: `1[0-3]` is 10 to 13."""
    product = _parse(item, place, depth)
    for part in product.parts:
        if isinstance(part, str) and not part.isdigit():
            raise place.error(f"{printable(item)!r} is neither a number nor a range")
    return product


def _read_range(match: re.Match[str], place: _Place) -> _Range:
    low, high = match[1], match[2] or match[1]
    if int(low) > int(high):
        raise place.error(f"{match[0]} ends before it begins")
    if high.startswith("0") and len(high) != len(low):
        raise place.error(f"the ends of {match[0]} have zeros and differ in width")
    return _Range(int(low), int(high), len(low) if low.startswith("0") else 1)


def _no_host(name: str) -> str:
    if "@" in name:
        return "no host name; give the name of the user to ssh, in ~/.ssh/config"
    if len(name.split()) > 1:
        return "no host name; write commas between hosts"
    return (
        "no host name; use letters, digits, '.', '_' and '-', beginning and ending with a letter "
        "or digit"
    )
