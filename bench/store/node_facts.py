"""Keeps the facts of nodes with a run, each distinct value once."""

from typing import Any

import msgspec

from bench.machine.facts import NodeFacts, facts_hash
from bench.store.folder import RunMeta


def store_facts(meta: RunMeta, nodes: dict[str, dict[str, Any]]) -> None:
    """Add the facts of `nodes`, by host name; the first record of a host stays."""
    for host, facts in nodes.items():
        if host in meta.nodes:
            continue
        key = facts_hash(msgspec.convert(facts, NodeFacts))
        meta.facts.setdefault(key, facts)
        meta.nodes[host] = key
