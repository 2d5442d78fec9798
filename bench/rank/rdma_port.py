"""The port of an RDMA device that messages by verbs take."""

import re
from pathlib import Path
from typing import NamedTuple

from bench.machine.nic import read_rdma
from bench.machine.sysfs import list_numbered, read_word

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class Port(NamedTuple):
    """A port of an RDMA device that carries traffic."""

    device: str
    port: int
    gid: int | None
    """Index of its address where it is Ethernet; None where the program chooses."""
    near: bool | None
    """Whether the device belongs to the NUMA node asked for; None where that is not known."""


def choose_port(root: Path, numa: int | None, nic: int = -1) -> Port | None:
    """Return an active port: of a number, else on a device of the NUMA node, else the first.

    Args:
        root: of the host's files.
        numa: the node that is wanted near; None where it is not known.
        nic: number among the active ports, in the order of their devices' names; -1 for any.
    """
    found = [
        Port(
            facts.name,
            port.port,
            _find_gid(root, facts.name, port.port) if port.link_layer == "Ethernet" else None,
            _is_near(facts.pci.numa_node if facts.pci else None, numa),
        )
        for facts in read_rdma(root)
        if _NAME.fullmatch(facts.name)
        for port in facts.ports
        if port.state == "ACTIVE"
    ]
    if nic >= 0:
        return found[nic] if nic < len(found) else None
    return min(found, key=lambda port: port.near is not True, default=None)


def _is_near(node: int | None, numa: int | None) -> bool | None:
    return None if node is None or node < 0 or numa is None else node == numa


def _find_gid(root: Path, device: str, port: int) -> int | None:
    """Return the address of RoCE that routers pass on: version 2 with IPv4, if there is one.

    The program's own default is the first one, mostly of version 1, which stays in its subnet.
    """
    folder = root / "sys/class/infiniband" / device / "ports" / str(port)
    return next(
        (
            index
            for index, kind in list_numbered(folder / "gid_attrs/types", "")
            if read_word(kind) == "RoCE v2"
            and (read_word(folder / "gids" / str(index)) or "").startswith(
                "0000:0000:0000:0000:0000:ffff:"
            )
        ),
        None,
    )
