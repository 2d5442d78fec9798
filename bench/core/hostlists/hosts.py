"""The record of a list of hosts: each once, with the ranks that it takes."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from bench.core.errors import RequestError
from bench.core.hostlists.sets import MOST_HOSTS
from bench.core.hostnames import fold_in_order
from bench.core.placement import Limits

MOST_COUNT = 1_000_000


class HostList(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts in their order, and what is known of where the list is from."""

    names: tuple[str, ...] = ()
    counts: tuple[int | None, ...] = ()
    """The most ranks of each host, None for one without a limit; empty where no host has one."""
    source: str = ""
    """Such as `--hosts`, `--hostfile FILE` or `PBS_NODEFILE`."""
    form: str = ""
    """What its form was taken for; empty where that goes without saying."""
    passed_over: tuple[str, ...] = ()
    """What the list asks for that is not done, and what to do instead."""
    granted: bool = False
    """A batch system has granted the hosts; nobody has named them."""

    @property
    def room(self) -> int | None:
        """Ranks that fit by the counts; None where there is no limit."""
        known = [count for count in self.counts if count is not None]
        return sum(known) if known and len(known) == len(self.counts) else None

    @property
    def limits(self) -> Limits:
        """How many hosts there are, or the most ranks of each."""
        return self.counts or len(self.names)

    def told(self) -> list[str]:
        """Return lines for people: where the list is from, and what of it is passed over."""
        if not self.names:
            return []
        many = f"{len(self.names)} host{'s' * (len(self.names) > 1)}"
        room = f", {self.room} ranks by its counts" if self.room is not None else ""
        form = f", taken for {self.form}" if self.form else ""
        told = f"{many} from {self.source}{form}{room}"
        return [told, *(f"passed over: {what}" for what in self.passed_over)]

    def lines(self) -> list[str]:
        """Return a line for each host with its count; those in a row with the same share one."""
        if not self.counts:
            return [fold_in_order(self.names)] if self.names else []
        pairs = zip(self.names, self.counts, strict=True)
        lines = []
        for count, same in groupby(pairs, key=lambda pair: pair[1]):
            names = [name for name, _ in same]
            most = "without a limit" if count is None else f"up to {count} rank{'s' * (count > 1)}"
            lines.append(f"{fold_in_order(names)}: {most}{' each' * (len(names) > 1)}")
        return lines

    def without_counts(self, why: str) -> "HostList":
        """Return the list with its counts passed over."""
        passed_over = (*self.passed_over, f"counts: {why}")
        return msgspec.structs.replace(self, counts=(), passed_over=passed_over)

    def slots(self) -> dict[str, int | None]:
        """Return the counts by host; none where there are none."""
        return dict(zip(self.names, self.counts, strict=False))


class Entry(NamedTuple):
    """A host as it stands once in a list."""

    name: str
    ranks: int | None = None


def add_up(
    entries: Iterable[Entry], source: str, lone: int | None = 1
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Return each host once, with the sum of its counts; an entry without a count is one.

    Names are compared without regard to capitals, as name services do. Without any count and any
    repetition there are no counts.

    Args:
        entries: in their order.
        source: of the list, for messages.
        lone: the count of a host that stands there once without one, where others have one.

    Raises:
        RequestError: where a count is beyond reason, or no host is left.
    """
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.name.lower(), []).append(entry)
    if len(found) > MOST_HOSTS:
        raise RequestError(f"{source}: over {MOST_HOSTS} hosts")
    names = tuple(same[0].name for same in found.values())
    if not any(len(same) > 1 or same[0].ranks is not None for same in found.values()):
        return names, ()
    counts = tuple(_sum(same, lone) for same in found.values())
    if any(count is not None and count > MOST_COUNT for count in counts):
        raise RequestError(f"{source}: a host with over {MOST_COUNT} ranks; check its count")
    return names, counts


def _sum(same: Sequence[Entry], lone: int | None) -> int | None:
    if len(same) == 1 and same[0].ranks is None:
        return lone
    return sum(1 if entry.ranks is None else entry.ranks for entry in same)


def leave_out_empty(
    names: tuple[str, ...], counts: tuple[int | None, ...], source: str
) -> tuple[tuple[str, ...], tuple[int | None, ...], tuple[str, ...]]:
    """Return the hosts that take ranks, their counts, and those with a count of 0.

    Raises:
        RequestError: where none takes any.
    """
    empty = tuple(n for n, c in zip(names, counts, strict=False) if c == 0)
    kept = [(n, c) for n, c in zip(names, counts, strict=False) if c != 0]
    if counts:
        names, counts = tuple(n for n, _ in kept), tuple(c for _, c in kept)
    if not names:
        raise RequestError(f"{source}: no host in it; name at least one, such as node1,node2")
    return names, counts, empty
