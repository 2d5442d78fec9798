"""What a run knows of its nodes: `nodes.jsonl` and a file in `nodes/` for each distinct value.

`nodes.jsonl` has a line for each thing learnt of a node, in order; a later one of the same node
adds to it. The facts of nodes that are alike are one file, named by a hash of its value.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from bench.core.errors import RequestError
from bench.core.transport import Transport
from bench.machine.facts import NodeFacts, facts_hash, read_records
from bench.store.files import NODES_FILE, NODES_FOLDER, Appender, replace_file
from bench.store.jsons import decode_file, encode_lines, pretty, read_lines


class Nodes(msgspec.Struct, kw_only=True):
    """Nodes of a run; facts are as they were sent, which another version may read otherwise."""

    hosts: dict[str, str] = {}
    """Host name to the key of its facts."""
    facts: dict[str, dict[str, Any]] = {}
    """Facts of nodes by a hash of the value, stored once per distinct value."""
    paths: dict[str, dict[str, Any]] = {}
    """What each host allows of the direct path, where a job was to prove one."""
    transports: list[Transport] = []
    """What was seen to carry messages, each way once; none in older runs."""

    def by_host(self) -> dict[str, dict[str, Any]]:
        """Return the facts of each host, as far as they are there."""
        return {host: self.facts[key] for host, key in self.hosts.items() if key in self.facts}


class _Line(msgspec.Struct, omit_defaults=True):
    host: str
    facts: str | None = None
    paths: dict[str, Any] | None = None
    transport: Transport | None = None


class NodeRecorder:
    """Writes what is learnt of nodes.

    Args:
        folder: of the run.
        nodes: what is known already, which is added to.
    """

    def __init__(self, folder: Path, nodes: Nodes) -> None:
        self.nodes = nodes
        self._folder = folder / NODES_FOLDER
        self._folder.mkdir(exist_ok=True)
        self._lines = Appender(folder / NODES_FILE)

    def add(self, facts: dict[str, dict[str, Any]], paths: dict[str, dict[str, Any]]) -> None:
        """Keep the facts of hosts, of which the first record of a host stays, and their paths.

        Raises:
            OSError: where the disk is full or gone.
        """
        nodes = self.nodes
        for host, read in read_records(facts, NodeFacts).items():
            if host in nodes.hosts:
                continue
            key = facts_hash(read)
            if key not in nodes.facts:
                # Before the line that names it.
                replace_file(self._folder / f"{key}.json", pretty(facts[host]))
                nodes.facts[key] = facts[host]
            nodes.hosts[host] = key
            self._write(_Line(host, facts=key))
        for host, allowed in paths.items():
            if nodes.paths.get(host) != allowed:
                nodes.paths[host] = allowed
                self._write(_Line(host, paths=allowed))
        self._lines.sync()

    def add_transports(self, transports: Iterable[Transport]) -> None:
        """Keep what was seen to carry messages, where it is new.

        Raises:
            OSError: where the disk is full or gone.
        """
        for transport in transports:
            if transport not in self.nodes.transports:
                self.nodes.transports.append(transport)
                self._write(_Line(transport.hosts[0], transport=transport))
        self._lines.sync()

    def _write(self, line: _Line) -> None:
        self._lines.write(msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def write_nodes(folder: Path, nodes: Nodes) -> None:
    """Write all that is known of nodes at once; facts of any kind are taken as they are."""
    if not nodes.hosts and not nodes.paths and not nodes.transports:
        return
    (folder / NODES_FOLDER).mkdir(exist_ok=True)
    for key, facts in nodes.facts.items():
        replace_file(folder / NODES_FOLDER / f"{key}.json", pretty(facts))
    names = dict.fromkeys((*nodes.hosts, *nodes.paths))
    lines = [_Line(name, nodes.hosts.get(name), nodes.paths.get(name)) for name in names]
    lines += [_Line(each.hosts[0], transport=each) for each in nodes.transports]
    replace_file(folder / NODES_FILE, encode_lines(lines))


def read_nodes(folder: Path) -> Nodes:
    """Return what is known of the nodes of a run.

    Raises:
        RequestError: where a file of it is damaged.
    """
    nodes = Nodes()
    for line in read_lines(folder / NODES_FILE, _Line):
        if line.paths is not None:
            nodes.paths[line.host] = line.paths
        if line.transport is not None:
            nodes.transports.append(line.transport)
        if line.facts is not None:
            nodes.hosts[line.host] = line.facts
    for key in dict.fromkeys(nodes.hosts.values()):
        # A key is a hash: another word is a stranger's, and may lead anywhere.
        if not (key.isascii() and key.isalnum()):
            raise RequestError(f"{NODES_FILE} names facts by a word that is no hash")
        path = folder / NODES_FOLDER / f"{key}.json"
        if path.exists():
            nodes.facts[key] = decode_file(path, dict[str, Any])
    return nodes
