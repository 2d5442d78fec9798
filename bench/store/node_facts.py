"""Keeps the facts of nodes with a run, each distinct value once."""

from typing import Any

from bench.machine.facts import NodeFacts, facts_hash, read_records
from bench.store.folder import RunMeta


def store_facts(meta: RunMeta, nodes: dict[str, dict[str, Any]]) -> None:
    """Add the facts of `nodes`, by host name; the first record of a host stays."""
    for host, facts in read_records(nodes, NodeFacts).items():
        if host in meta.nodes:
            continue
        key = facts_hash(facts)
        meta.facts.setdefault(key, nodes[host])
        meta.nodes[host] = key
