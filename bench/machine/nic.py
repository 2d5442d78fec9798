"""Facts of network cards: Ethernet interfaces, and the RDMA devices that MPI and NCCL use."""

import array
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.core.errors import printable
from bench.core.units import format_rate
from bench.machine.compared import BY_SLOT, COMPARED, Compared
from bench.machine.describe import UNKNOWN, Rows, show
from bench.machine.ethtool import Ethtool, NicSettings
from bench.machine.interrupts import place_interrupts, read_interrupt_cpus
from bench.machine.memory import NumaNode
from bench.machine.pci import (
    PciDevice,
    describe_device,
    describe_packets,
    find_pci_folder,
    read_pci_device,
)
from bench.machine.sysfs import link_target, list_folder, list_numbered, read_natural, read_word

_SPEED_LIMIT = 1 << 31
"""Mb/s; old kernels print -1, their unknown, as an unsigned number of this size or more."""

_MOST_SHOWN = 600
"""Characters of settings: some forty words."""

PEER_MODULES = ("nvidia_peermem", "nv_peer_mem")
"""Kernel modules that hand memory of NVIDIA GPUs to RDMA devices."""
_LIFESPAN = "lifespan"
"""Lies beside the counters, and says how old they may be."""
_RATE = re.compile(r"(\d+(?:\.\d+)?) Gb/sec")
_STATE = re.compile(r"\d+: *(\w+)", re.ASCII)

# linux/sockios.h and linux/ethtool.h: driver[32], version[32], fw_version[32] after a u32 command.
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x3
_DRVINFO_SIZE = 196
_FIRMWARE_FIELD = slice(68, 100)


def _place_of(cpus: Any, node: Any) -> str | None:
    return place_interrupts(cpus, getattr(node, "numa", ()))


def _settings_of(number: Any, node: Any) -> NicSettings | None:
    settings: NicSettings | None = _pick(getattr(node, "nic_settings", ()), number)
    return settings


def _counters_of(number: Any, node: Any) -> str | None:
    names: str | None = _pick(getattr(node, "port_counters", ()), number)
    return names


def _pick(values: Sequence[Any], number: int | None) -> Any:
    # A stored number may be any.
    return values[number] if number is not None and 0 <= number < len(values) else None


class NicFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One network interface."""

    name: str
    pci: Annotated[PciDevice | None, COMPARED] = None
    """The device it sits on, with its model, link and NUMA node."""
    driver: Annotated[str | None, COMPARED] = None
    firmware: Annotated[str | None, COMPARED] = None
    state: Annotated[str | None, COMPARED] = None
    """The kernel's operational state, such as up or down."""
    speed_mbit_per_s: Annotated[int | None, COMPARED] = None
    """None while the link is down."""
    mtu: Annotated[int | None, COMPARED] = None
    """Bytes."""
    mode: Annotated[str | None, COMPARED] = None
    """Of IP over InfiniBand: datagram or connected; None of another link."""
    interrupt_cpus: Annotated[str | None, Compared(view=_place_of)] = None
    """CPUs that may serve the interrupts of its queues, such as `0-15`."""
    settings: Annotated[int | None, Compared(view=_settings_of)] = None
    """Which of the node's `nic_settings` it has: most nodes have many cards that are set alike."""

    @property
    def slot(self) -> str:
        """Where it sits: its PCI address, or its name where it is no hardware."""
        return self.pci.address if self.pci else self.name


class RdmaPort(msgspec.Struct, frozen=True, kw_only=True):
    """One port of an RDMA device."""

    port: int
    state: Annotated[str | None, COMPARED] = None
    """Logical state: ACTIVE carries traffic; DOWN, INIT and ARMED do not."""
    physical: str | None = None
    """Physical state: LinkUp, Polling, Disabled."""
    rate_gbit_per_s: Annotated[float | None, COMPARED] = None
    """None while the link is down: what the kernel prints then is no rate of anything."""
    link_layer: Annotated[str | None, COMPARED] = None
    """InfiniBand, or Ethernet for RoCE."""
    counters: Annotated[int | None, Compared(view=_counters_of)] = None
    """Which of the node's `port_counters` it has."""

    @property
    def slot(self) -> str:
        """Its number."""
        return str(self.port)


class RdmaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One InfiniBand or RoCE device."""

    name: Annotated[str, COMPARED]
    """Such as `mlx5_0`: what the same setting names on every node."""
    pci: Annotated[PciDevice | None, COMPARED] = None
    """The device it is, with its model, link and NUMA node."""
    hca_type: str | None = None
    firmware: Annotated[str | None, COMPARED] = None
    ports: Annotated[tuple[RdmaPort, ...], BY_SLOT] = ()

    @property
    def slot(self) -> str:
        """Where it sits: its PCI address, or its name where it is no hardware."""
        return self.pci.address if self.pci else self.name


class Cards(msgspec.Struct, frozen=True, kw_only=True):
    """The network cards of a node."""

    nics: tuple[NicFacts, ...]
    rdma: tuple[RdmaFacts, ...]
    nic_settings: tuple[NicSettings, ...]
    """Each way in which interfaces are set, once."""
    port_counters: tuple[str, ...]
    """Each set of names of counters that RDMA ports have, once."""


def read_cards(root: Path) -> Cards:
    """Return the interfaces that sit on hardware, or the virtual ones where there are no others."""
    folders = [f for f in list_folder(root / "sys/class/net") if f.name != "lo" and f.is_dir()]
    physical = [folder for folder in folders if (folder / "device").exists()]
    settings: dict[NicSettings, int] = {}
    counters: dict[str, int] = {}
    with Ethtool() as ethtool:
        nics = tuple(_read_nic(root, f, ethtool, settings) for f in physical or folders)
    return Cards(
        nics=nics,
        rdma=read_rdma(root, counters),
        nic_settings=tuple(settings),
        port_counters=tuple(counters),
    )


def read_rdma(root: Path, counters: dict[str, int] | None = None) -> tuple[RdmaFacts, ...]:
    """Return the InfiniBand and RoCE devices below `root`.

    Args:
        counters: where the names of ports' counters are put, each set of them with a number.
    """
    return tuple(_read_rdma(root, f, counters) for f in list_folder(root / "sys/class/infiniband"))


def nic_rows(cards: Cards, numa: tuple[NumaNode, ...]) -> Rows:
    """Return the facts of network cards for a person."""
    rows = []
    for nic in cards.nics:
        rows.append((f"NIC {show(nic.name)}", _describe_nic(nic)))
        rows.append((f"NIC {show(nic.name)} is set to", _describe_settings(nic, cards, numa)))
    rows += [(f"RDMA {show(device.name)}", _describe_rdma(device)) for device in cards.rdma]
    return rows or [("NICs", "none")]


def _describe_settings(nic: NicFacts, cards: Cards, numa: tuple[NumaNode, ...]) -> str:
    found = _pick(cards.nic_settings, nic.settings)
    where = place_interrupts(nic.interrupt_cpus, numa)
    served = UNKNOWN if where is None else f"on CPUs {show(nic.interrupt_cpus)} ({where})"
    parts = [
        *([describe_packets(nic.pci.packets)] if nic.pci else []),
        f"interrupts {served}",
        printable(found.describe(), _MOST_SHOWN) if found else "rings and features unknown",
    ]
    return "; ".join(parts)


def _describe_nic(nic: NicFacts) -> str:
    speed = nic.speed_mbit_per_s
    return ", ".join(
        (
            describe_device(nic.pci),
            f"link {show(nic.state)}",
            "speed unknown" if speed is None else format_rate(speed * 1e6, "bit/s"),
            f"MTU {show(nic.mtu)}",
            *([f"{show(nic.mode)} mode"] if nic.mode else []),
            f"driver {show(nic.driver)}",
            f"firmware {show(nic.firmware)}",
        )
    )


def _describe_rdma(device: RdmaFacts) -> str:
    ports = [
        f"port {p.port} {show(p.state)} {_format_rate(p.rate_gbit_per_s)} {show(p.link_layer)}"
        for p in device.ports
    ]
    return ", ".join(
        (
            f"type {show(device.hca_type)}",
            describe_device(device.pci),
            f"firmware {show(device.firmware)}",
            *(ports or [f"ports {UNKNOWN}"]),
        )
    )


def _format_rate(gbit_per_s: float | None) -> str:
    return "at unknown rate" if gbit_per_s is None else format_rate(gbit_per_s * 1e9, "bit/s")


def _read_nic(
    root: Path, folder: Path, ethtool: Ethtool, settings: dict[NicSettings, int]
) -> NicFacts:
    speed = read_natural(folder / "speed")
    device = find_pci_folder(folder / "device")
    # The kernel is asked about this machine; a stored tree is of another one.
    found = ethtool.read(folder.name) if root == Path("/") else None
    return NicFacts(
        name=folder.name,
        pci=read_pci_device(root, folder / "device"),
        driver=link_target(folder / "device/driver"),
        firmware=_read_firmware(root, folder),
        state=read_word(folder / "operstate"),
        speed_mbit_per_s=speed if speed and speed < _SPEED_LIMIT - 1 else None,
        mtu=read_natural(folder / "mtu"),
        mode=read_word(folder / "mode"),
        interrupt_cpus=read_interrupt_cpus(root, device) if device else None,
        settings=settings.setdefault(found, len(settings)) if found else None,
    )


def _read_firmware(root: Path, folder: Path) -> str | None:
    for device in list_folder(folder / "device/infiniband"):
        if version := read_word(device / "fw_ver"):
            return version
    return _ask_driver(folder.name) if root == Path("/") else None


def _ask_driver(interface: str) -> str | None:
    """Return the firmware version that the driver of an interface of this machine names."""
    import fcntl  # lazily: other platforms lack it, and are to get one clear line

    info = array.array("B", bytes(_DRVINFO_SIZE))
    struct.pack_into("=I", info, 0, _ETHTOOL_GDRVINFO)
    request = struct.pack("16sP", interface.encode()[:15], info.buffer_info()[0]).ljust(40, b"\0")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel, _SIOCETHTOOL, request)
    except OSError:
        return None
    text = info.tobytes()[_FIRMWARE_FIELD].split(b"\0", 1)[0].decode("ascii", "replace").strip()
    return text if text and text != "N/A" and text.isprintable() else None


def _read_rdma(root: Path, folder: Path, counters: dict[str, int] | None) -> RdmaFacts:
    return RdmaFacts(
        name=folder.name,
        pci=read_pci_device(root, folder / "device"),
        hca_type=read_word(folder / "hca_type"),
        firmware=read_word(folder / "fw_ver"),
        ports=tuple(
            _read_port(number, f, counters) for number, f in list_numbered(folder / "ports", "")
        ),
    )


def _read_port(number: int, folder: Path, counters: dict[str, int] | None) -> RdmaPort:
    physical = _read_state(folder / "phys_state")
    rate = _RATE.match(read_word(folder / "rate") or "")
    return RdmaPort(
        port=number,
        state=_read_state(folder / "state"),
        physical=physical,
        rate_gbit_per_s=float(rate[1]) if rate and physical == "LinkUp" else None,
        link_layer=read_word(folder / "link_layer"),
        counters=None if counters is None else _number_counters(folder, counters),
    )


def _number_counters(folder: Path, counters: dict[str, int]) -> int | None:
    """Return the number of a port's set of counters, which its driver and firmware decide on."""
    files = (*list_folder(folder / "counters"), *list_folder(folder / "hw_counters"))
    names = ", ".join(sorted({file.name for file in files} - {_LIFESPAN}))
    return counters.setdefault(names, len(counters)) if names else None


def _read_state(path: Path) -> str | None:
    """Return the word of a file such as `4: ACTIVE`."""
    match = _STATE.fullmatch(read_word(path) or "")
    return match[1] if match else None
