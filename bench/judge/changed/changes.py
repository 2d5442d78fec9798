"""What else differs between two runs, of all that was recorded: the likeliest culprits first."""

from collections.abc import Iterator

from bench.judge.changed.moments import find_host_changes, find_moment_changes
from bench.judge.changed.nodes import find_node_changes
from bench.judge.changed.records import RANKS, Difference, Kind
from bench.judge.changed.request import find_request_changes
from bench.judge.changed.rows import find_path_changes, find_row_changes
from bench.judge.changed.transports import find_transport_changes
from bench.machine.direct_path import PathFacts
from bench.machine.facts import NodeFacts, read_records
from bench.store.folder import RunFolder


def find_changes(a: RunFolder, b: RunFolder) -> tuple[Difference, ...]:
    """Return all in which two runs differ, beside their times.

    What is known of one side alone comes last: nobody can say that it differs.

    Raises:
        RequestError: where a file of a run is damaged.
    """
    found = dict.fromkeys(_find(a, b))
    return tuple(sorted(found, key=lambda each: (not each.known, RANKS[each.kind])))


def _find(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    yield from find_request_changes(a, b)
    yield from find_transport_changes(a.nodes.transports, b.nodes.transports)
    yield from find_path_changes(a.evidence(), b.evidence())
    yield from _compare_nodes(a, b)
    yield from find_row_changes(a.rows(), b.rows())
    yield from find_host_changes((*a.nodes.hosts,), (*b.nodes.hosts,))
    yield from find_moment_changes(a, b)


def _compare_nodes(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    facts = [_facts_by_host(run) for run in (a, b)]
    if facts[0] and facts[1]:
        yield from find_node_changes(facts[0], facts[1])
    elif facts[0] or facts[1]:
        known = ["known" if side else None for side in facts]
        yield Difference(kind=Kind.HARDWARE, what="facts of nodes", a=known[0], b=known[1])
    paths = [read_records(run.nodes.paths, PathFacts) for run in (a, b)]
    if paths[0] and paths[1]:
        yield from find_node_changes(paths[0], paths[1])


def _facts_by_host(run: RunFolder) -> dict[str, NodeFacts]:
    kinds = read_records(run.nodes.facts, NodeFacts)
    return {host: kinds[key] for host, key in run.nodes.hosts.items() if key in kinds}
