"""What differs between two runs, in lines for people."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from bench.core.hostnames import fold_hosts
from bench.judge.changed.records import Difference

NOTHING = "Nothing else differs in what both runs recorded."
_MOST_OF_KIND = 8
"""Differences of one kind that are told; a suite may be another one in everything."""
_MOST_UNKNOWN = 8
"""Facts of one side that are named."""


def changes_text(
    differences: Sequence[Difference], names: tuple[str, str] = ("A", "B")
) -> tuple[str, ...]:
    """Return a line for each difference, such as `link: nics[eth0].mtu: A 1500, B 9000`.

    What is known of one side alone is told behind them, a line for each side.

    Args:
        differences: in the order of their lines.
        names: of the sides.
    """
    lines = [*_known(differences, names)]
    return (*(lines or [NOTHING]), *_unknown(differences, names))


def _known(differences: Sequence[Difference], names: tuple[str, str]) -> Iterator[str]:
    known = [each for each in differences if each.known]
    for kind, those in groupby(known, key=lambda each: each.kind):
        of_kind = [*those]
        for each in of_kind[:_MOST_OF_KIND]:
            yield _line(each, names)
        if len(of_kind) > _MOST_OF_KIND:
            yield f"{kind}: {len(of_kind) - _MOST_OF_KIND} more"


def _line(each: Difference, names: tuple[str, str]) -> str:
    where = f" on {fold_hosts(each.hosts)}" if each.hosts else ""
    return f"{each.kind}: {each.what}{where}: {names[0]} {each.a}, {names[1]} {each.b}"


def _unknown(differences: Sequence[Difference], names: tuple[str, str]) -> Iterator[str]:
    unknown = sorted(
        (each for each in differences if not each.known), key=lambda each: each.a is None
    )
    for of_b, those in groupby(unknown, key=lambda each: each.a is None):
        facts = [each.what for each in those]
        more = len(facts) - _MOST_UNKNOWN
        shown = ", ".join(facts[:_MOST_UNKNOWN]) + (f" and {more} more" if more > 0 else "")
        known, other = names[::-1] if of_b else names
        yield f"Known of {known} alone, so that nobody can say whether {other} differs: {shown}."
