"""A machine as people describe it, in a TOML file: what bounds, predictions and the lab go by.

    source = "tender of 2026-11"        # who says so, of all that has no source of its own
    hosts = ["h1", "h2"]                # or nodes = 2: names that are left out are any

    [node]                              # every node is as this one
    model = "p5"                        # of the catalogue; what stands below beats it

    [node.cpu]
    clock = "3.7 GHz"                   # that no core exceeds
    [node.memory]
    bandwidth = "204.8 GB/s"            # of the main memory
    [node.gpu]
    model = "h100-sxm"
    count = 8
    link = "nvlink4"                    # to the other GPUs of its node
    [node.nic]
    count = 8                           # used at once
    link = "ndr"                        # of the catalogue, or a payload rate such as "49.5 MB/s"

    [network]
    latency = "2 us"

Every key may be left out, and what is left out is not known; docs/models.md has them all.
`quantity` says how values are written. Files of the two grammars before this one: `former`.
"""

from pathlib import Path

from bench.core.errors import RequestError, nearest, printable
from bench.core.strict import convert_strictly
from bench.core.toml import parse_toml, read_text
from bench.machine.catalogue import load
from bench.machine.description.former import read_flat, refuse_cluster
from bench.machine.description.parts import Description
from bench.machine.description.quantity import read_quantity

__all__ = ["Description", "load_description", "parse_description", "read_description"]


def read_description(path: Path) -> str:
    """Return the text of a machine file, checked.

    Raises:
        RequestError: where it cannot be read or is not valid.
    """
    try:
        text = read_text(path, "machine")
        parse_description(text)
    except RequestError as error:
        raise RequestError(f"--machine {printable(path, 200)}: {error}") from error
    return text


def load_description(path: Path) -> Description:
    """Read a machine file.

    Raises:
        RequestError: where it cannot be read or is not valid.
    """
    return parse_description(read_description(path))


def parse_description(text: str) -> Description:
    """Return what the text of a machine file states.

    Raises:
        RequestError: where it is not valid; the message begins with the key's path.
    """
    document = parse_toml(text)
    refuse_cluster(document)
    if (flat := read_flat(document)) is not None:
        return flat
    described = convert_strictly(document, Description, read_quantity)
    _check(described)
    return described


def _check(described: Description) -> None:
    """Refuse names that the catalogue lacks, and numbers that contradict each other."""
    catalogue, node, nic = load(), described.node, described.node.nic
    for path, name, rows in (
        ("node.model", node.model, catalogue.nodes),
        ("node.gpu.model", node.gpu.model, catalogue.gpus),
        ("node.nic.model", nic.model, catalogue.nics),
    ):
        if name is not None and name not in rows:
            raise RequestError(f"{path}: {printable(name)!r} is not valid; {nearest(name, rows)}")
    if described.hosts and described.nodes not in (None, len(described.hosts)):
        raise RequestError(
            f"nodes: {described.nodes}, but hosts names {len(described.hosts)}; leave nodes out"
        )
    if len(set(described.hosts)) < len(described.hosts):
        raise RequestError("hosts: a name stands there twice; name each host once")
    if nic.line is not None and nic.link is not None:
        if nic.link.name is not None:
            raise RequestError("node.nic.line: the link has its own; leave one of them out")
        if nic.link.high > nic.line.high * (1 + 1e-9):
            raise RequestError("node.nic.link: its payload rate is over that of node.nic.line")
    network = described.network
    if (network.nodes_per_switch is None) != (network.oversubscription is None):
        raise RequestError("network: nodes_per_switch and oversubscription tell only together")
