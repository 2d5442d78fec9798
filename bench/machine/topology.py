"""How far a GPU is from a network card on the PCIe tree, and what its switches redirect.

The words are those of `nvidia-smi topo -m`: PIX (one switch or bridge between them), PXB (several,
and no host bridge), PHB (a host bridge), NODE (two host bridges of one NUMA node), SYS (two NUMA
nodes).
"""

import re
import struct
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bench.machine.compared import COMPARED
from bench.machine.nic import RdmaFacts
from bench.machine.sysfs import list_folder, read_natural, read_word

Distance = Literal["PIX", "PXB", "PHB", "NODE", "SYS"]

DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_HOST_BRIDGE = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")
_GPU_VENDORS = ("0x10de", "0x1002")
_DISPLAY = ("0x0300", "0x0302", "0x0380")
"""PCI classes of GPUs: VGA, 3D controllers, and the class of AMD's accelerators."""

# PCI Express base specification, 7.7.11: Access Control Services.
_EXTENDED = 0x100
_ACS = 0x000D
_ACS_CONTROL = 6
_REDIRECT = 0x4 | 0x8
"""Bits of the control register: peer-to-peer requests and completions go up to the root."""
_PLAIN_BYTES = 64
"""Of the configuration space, all that anybody but root is shown."""
_MOST_CAPABILITIES = 64


class Between(msgspec.Struct, frozen=True, kw_only=True):
    """What lies between a GPU and a network card; None where it is not known."""

    gpu: str
    """PCI address."""
    nic: str
    """Name of the RDMA device, or of the interface."""
    distance: Annotated[Distance | None, COMPARED]
    acs_redirect: Annotated[bool | None, COMPARED] = None
    """Whether a switch between them sends what passes from one to the other through the root."""
    acs_reason: str | None = None
    """Why that is not known."""

    @property
    def slot(self) -> str:
        """Both its ends."""
        return f"{self.gpu} to {self.nic}"


def find_gpus(root: Path) -> tuple[str, ...]:
    """Return the PCI addresses of the GPUs on the bus, with or without a driver."""
    return tuple(
        folder.name
        for folder in list_folder(root / DEVICES)
        if read_word(folder / "vendor") in _GPU_VENDORS
        and (read_word(folder / "class") or "").startswith(_DISPLAY)
    )


def relate(root: Path, gpus: tuple[str, ...], rdma: tuple[RdmaFacts, ...]) -> tuple[Between, ...]:
    """Return what lies between each of the GPUs and each RDMA device below `root`."""
    return tuple(
        _relate(root, gpu, device.name, device.pci.address)
        for gpu in gpus
        for device in rdma
        if device.pci is not None
    )


def _relate(root: Path, gpu: str, name: str, nic: str) -> Between:
    here, there = _route(root, gpu), _route(root, nic)
    if here is None or there is None:
        return Between(gpu=gpu, nic=name, distance=None, acs_reason="not in the tree of devices")
    common = 0
    while common < min(len(here), len(there)) - 1 and here[common] == there[common]:
        common += 1
    distance = _distance(root, here, there, common)
    if distance not in ("PIX", "PXB"):
        # What passes a host bridge is at the root anyway.
        return Between(gpu=gpu, nic=name, distance=distance)
    bridges = {*here[common:-1], *there[common:-1]}
    states = [read_acs(root / DEVICES / bridge / "config") for bridge in sorted(bridges)]
    known = [state for state in states if isinstance(state, bool)]
    unknown = [state for state in states if isinstance(state, str)]
    redirect = True if any(known) else None if unknown else False
    reason = unknown[0] if redirect is None and unknown else None
    return Between(gpu=gpu, nic=name, distance=distance, acs_redirect=redirect, acs_reason=reason)


def _route(root: Path, address: str) -> tuple[str, ...] | None:
    """Return the host bridge, the bridges below it, and the device itself."""
    try:
        parts = (root / DEVICES / address).resolve(strict=True).parts
    except (OSError, RuntimeError):
        return None
    start = next((i for i, part in enumerate(parts) if _HOST_BRIDGE.fullmatch(part)), None)
    if start is None or parts[-1] != address:
        return None
    below = tuple(part for part in parts[start + 1 :] if _ADDRESS.fullmatch(part))
    return (parts[start], *below)


def _distance(
    root: Path, here: tuple[str, ...], there: tuple[str, ...], common: int
) -> Distance | None:
    if common > 1:
        # A switch shows as its upstream port, which both share, and a downstream port for each.
        own = max(len(here), len(there)) - common - 1
        return "PIX" if own <= 1 else "PXB"
    if common == 1:
        return "PHB"
    nodes = [read_natural(root / DEVICES / route[-1] / "numa_node") for route in (here, there)]
    if None in nodes:
        return None
    return "NODE" if nodes[0] == nodes[1] else "SYS"


def read_acs(config: Path) -> bool | str:
    """Return whether a bridge redirects traffic between its ports, or why that is not known.

    Args:
        config: its configuration space in sysfs, of which others than root see 64 bytes.
    """
    try:
        space = config.read_bytes()[: 1 << 12]
    except OSError:
        return "the configuration space of a switch cannot be read"
    if len(space) <= _PLAIN_BYTES:
        return "ACS of the PCIe switches is shown to root only; run `clusterbench doctor` as root"
    place, seen = _EXTENDED, 0
    while _EXTENDED <= place <= len(space) - 8 and seen < _MOST_CAPABILITIES:
        (header,) = struct.unpack_from("<I", space, place)
        if header & 0xFFFF == _ACS:
            (control,) = struct.unpack_from("<H", space, place + _ACS_CONTROL)
            return bool(control & _REDIRECT)
        place, seen = header >> 20, seen + 1
    return False
