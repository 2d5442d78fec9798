"""What was seen to carry messages on one side and not on the other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.core.errors import printable
from bench.core.transport import Transport
from bench.judge.changed.records import SHOWN, Difference, Kind


def find_transport_changes(a: Sequence[Transport], b: Sequence[Transport]) -> Iterator[Difference]:
    """Yield what carried messages of host memory, and how often a host copied them.

    Within a host and between hosts are different things; where jobs of one side saw several ways,
    they are told together.
    """
    sides = _by_place(a), _by_place(b)
    for place in dict.fromkeys((*sides[0], *sides[1])):
        of_a, of_b = (side.get(place, []) for side in sides)
        small = [_join(each.small for each in side) for side in (of_a, of_b)]
        large = [_join(each.large for each in side) for side in (of_a, of_b)]
        copies = [_join(each.copies for each in side) for side in (of_a, of_b)]
        same = small == large or large == [None, None]
        yield from _differ(Kind.TRANSPORT, f"{'' if same else 'small '}messages {place}", small)
        if not same:
            yield from _differ(Kind.TRANSPORT, f"large messages {place}", large)
        if large[0] == large[1]:
            yield from _differ(Kind.SINGLE_COPY, f"large messages {place}", copies)


def _by_place(transports: Sequence[Transport]) -> dict[str, list[Transport]]:
    found: dict[str, list[Transport]] = defaultdict(list)
    for each in transports:
        found[each.between].append(each)
    return found


def _join(values: Iterator[str | None]) -> str | None:
    known = sorted({value for value in values if value is not None})
    return printable(", ".join(known), SHOWN) if known else None


def _differ(kind: Kind, what: str, sides: Sequence[str | None]) -> Iterator[Difference]:
    if sides[0] != sides[1]:
        yield Difference(kind=kind, what=what, a=sides[0], b=sides[1])
