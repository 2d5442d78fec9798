"""What the nodes of a job are called: by the names they were asked for, where those are known.

A host may call itself something else than the name that reaches it, and two hosts may call
themselves the same (`localhost`, or copies of one image). MPI knows which ranks share a node.
"""

import os
import re
import socket
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from bench.rank.world import number_as_they_appear

_OTHER = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_NO_NAME = "host"


class OwnNames(NamedTuple):
    """What a host calls itself."""

    hostname: str
    scheduled: str | None
    """Its name in Slurm, as the daemon that started the rank set it."""


def read_own_names() -> OwnNames:
    """Return the names of the host of this rank."""
    return OwnNames(socket.gethostname(), os.environ.get("SLURMD_NODENAME") or None)


def name_nodes(
    nodes: Sequence[int],
    own: Sequence[OwnNames],
    hosts: Sequence[str] = (),
    host_ranks: Sequence[int] = (),
) -> tuple[str, ...]:
    """Return a name for each node, no two the same and each a host name.

    Args:
        nodes: of each rank, numbered as they appear.
        own: names of the host of each rank.
        hosts: that the ranks were asked to start on, in blocks.
        host_ranks: ranks of each block.
    """
    blocks = [host for host, ranks in zip(hosts, host_ranks, strict=False) for _ in range(ranks)]
    if blocks and number_as_they_appear(blocks) == tuple(nodes):
        return tuple(dict.fromkeys(blocks))
    first = dict(reversed([*zip(nodes, own, strict=True)]))
    by_node = [first[node] for node in range(len(first))]
    scheduled = [names.scheduled for names in by_node]
    # A launcher that hands one host's environment to all of them hands its name on as well.
    if all(scheduled) and _are_distinct(scheduled):
        return _distinct([name or "" for name in scheduled])
    return _distinct([names.hostname for names in by_node])


def _are_distinct(names: Sequence[Hashable]) -> bool:
    return len(set(names)) == len(names)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names by the grammar of host names; where two are the same, with their node.

    Capitals make no difference, as in a list of hosts.
    """
    clean = [_OTHER.sub("-", name).strip("-._") or _NO_NAME for name in names]
    counts = Counter(name.lower() for name in clean)
    found: list[str] = []
    taken: set[str] = set()
    for node, name in enumerate(clean):
        unique = name
        while counts[unique.lower()] > (unique == name) or unique.lower() in taken:
            unique += f"-node{node}"
        found.append(unique)
        taken.add(unique.lower())
    return tuple(found)
