"""`--hosts`: names, sets and addresses between commas, with a count after a colon."""

import re

from bench.core.errors import RequestError, printable
from bench.core.hostlists.hosts import Entry, HostList, add_up, leave_out_empty
from bench.core.hostlists.sets import (
    MOST_HOSTS,
    expand_term,
    is_set,
    refuse_no_nodes,
    split_terms,
)
from bench.core.hostnames import parse_ipv6

_COUNT = re.compile(r"\d{1,7}", re.ASCII)


def split_fields(term: str, source: str) -> tuple[str, list[str]]:
    """Return a name, set or address, and what follows it after colons.

    An IPv6 address with something after it is in brackets.

    Raises:
        RequestError: where it is an address of one link only.
    """
    if "%" in term and ":" in term:
        raise RequestError(
            f"{source}: {printable(term)!r} is an address of one link only; give one that all "
            "hosts can reach, or a name"
        )
    if parse_ipv6(term) is not None:
        return term, []
    end = term.find("]:")
    if term.startswith("[") and end > 0 and ":" in term[:end]:
        return term[: end + 1], term[end + 2 :].split(":")
    # A colon within brackets is for the reader of sets to refuse.
    bracket = term.rfind("]") + 1
    body, *fields = term[bracket:].split(":")
    return term[:bracket] + body, fields


def read_count(text: str, source: str) -> int:
    """Return a count of ranks.

    Raises:
        RequestError: where it is none.
    """
    if not _COUNT.fullmatch(text):
        raise RequestError(f"{source}: {printable(text)!r} is no count of ranks; write a number")
    return int(text)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a comma-separated list of names, sets and addresses, in order.

    Raises:
        RequestError: where a name is no host name, or stands there again beside a set.
    """
    return read_typed(text).names


def read_typed(text: str, source: str = "--hosts") -> HostList:
    """Return the hosts of a list that was typed.

    A name that stands there again adds a rank, as in Open MPI's `--host`; one that a set names
    again is a mistake.

    Raises:
        RequestError: where a term is no host, set or address, or a count is none.
    """
    refuse_no_nodes(text, source)
    entries: list[Entry] = []
    of_sets: set[str] = set()
    seen: set[str] = set()
    for term in split_terms(text):
        body, fields = split_fields(term, source)
        if len(fields) > 1:
            raise RequestError(
                f"{source}: {printable(term)!r} has more than a count after its name; "
                "write it as node1:4, an IPv6 address as [fd00::12]:4"
            )
        count = read_count(fields[0], source) if fields else None
        names = expand_term(body, source)
        for name in names:
            if name in (seen if is_set(body) else of_sets):
                raise RequestError(f"{source}: {name} stands there twice; name each host once")
            seen.add(name)
            if is_set(body):
                of_sets.add(name)
        entries += [Entry(name, count) for name in names]
        if len(entries) > MOST_HOSTS:
            raise RequestError(f"{source}: over {MOST_HOSTS} hosts")
    hosts, counts, empty = leave_out_empty(*add_up(entries, source), source)
    passed_over = (f"hosts with a count of 0: {', '.join(empty[:8])}",) if empty else ()
    return HostList(names=hosts, counts=counts, source=source, passed_over=passed_over)
