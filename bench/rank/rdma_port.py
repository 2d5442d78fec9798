"""The port of an RDMA device that messages by verbs take."""

import re
from pathlib import Path
from typing import NamedTuple, get_args

from bench.machine.near_gpu import sysfs_address
from bench.machine.nic import read_rdma
from bench.machine.sysfs import list_numbered, read_word
from bench.machine.topology import Distance, relate

_DISTANCES = get_args(Distance)
"""The nearest first."""
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class Port(NamedTuple):
    """A port of an RDMA device that carries traffic."""

    device: str
    port: int
    gid: int | None
    """Index of its address where it is Ethernet; None where the program chooses."""
    near: bool | None
    """Whether the device belongs to the NUMA node asked for; None where that is not known."""
    distance: Distance | None = None
    """Of the device from the GPU asked for; None without one, or where that is not known."""
    gbit_per_s: float = 0.0
    """0 where it is not known."""
    ethernet: bool = False


def choose_port(root: Path, numa: int | None, nic: int = -1, gpu: str | None = None) -> Port | None:
    """Return an active port: of a number, else the nearest, of these the fastest, then InfiniBand.

    A GPU has its distance to each device; host memory is near those of its NUMA node.

    Args:
        root: of the host's files.
        numa: the node that is wanted near; None where it is not known.
        nic: number among the active ports, in the order of their devices' names; -1 for any.
        gpu: PCI address of the GPU whose memory is sent; None for that of the host.
    """
    devices = read_rdma(root)
    address = sysfs_address(gpu or "")
    between = relate(root, (address,), devices) if address else ()
    distances = {each.nic: each.distance for each in between}
    found = [
        Port(
            facts.name,
            port.port,
            _find_gid(root, facts.name, port.port) if port.link_layer == "Ethernet" else None,
            _is_near(facts.pci.numa_node if facts.pci else None, numa),
            distances.get(facts.name),
            port.rate_gbit_per_s or 0.0,
            port.link_layer == "Ethernet",
        )
        for facts in devices
        if _NAME.fullmatch(facts.name)
        for port in facts.ports
        if port.state == "ACTIVE"
    ]
    if nic >= 0:
        return found[nic] if nic < len(found) else None
    return min(found, key=_rank_port, default=None)


def _rank_port(port: Port) -> tuple[int, bool, float, bool]:
    """Return what a better port has less of."""
    steps = len(_DISTANCES) if port.distance is None else _DISTANCES.index(port.distance)
    return steps, port.near is not True, -port.gbit_per_s, port.ethernet


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
