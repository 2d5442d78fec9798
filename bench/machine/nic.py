"""Facts of network cards: Ethernet interfaces, and the RDMA devices that MPI and NCCL use."""

import array
import re
import socket
import struct
from pathlib import Path
from typing import Annotated

import msgspec

from bench.core.units import format_rate
from bench.machine.compared import BY_SLOT, COMPARED
from bench.machine.describe import UNKNOWN, Rows, show
from bench.machine.pci import PciDevice, describe_device, read_pci_device
from bench.machine.sysfs import link_target, list_folder, list_numbered, read_natural, read_word

_SPEED_LIMIT = 1 << 31
"""Mb/s; old kernels print -1, their unknown, as an unsigned number of this size or more."""

PEER_MODULES = ("nvidia_peermem", "nv_peer_mem")
"""Kernel modules that hand memory of NVIDIA GPUs to RDMA devices."""
_RATE = re.compile(r"(\d+(?:\.\d+)?) Gb/sec")
_STATE = re.compile(r"\d+: *(\w+)", re.ASCII)

# linux/sockios.h and linux/ethtool.h: driver[32], version[32], fw_version[32] after a u32 command.
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x3
_DRVINFO_SIZE = 196
_FIRMWARE_FIELD = slice(68, 100)


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


def read_nics(root: Path) -> tuple[NicFacts, ...]:
    """Return the interfaces that sit on hardware, or the virtual ones where there are no others."""
    folders = [f for f in list_folder(root / "sys/class/net") if f.name != "lo" and f.is_dir()]
    physical = [folder for folder in folders if (folder / "device").exists()]
    return tuple(_read_nic(root, folder) for folder in physical or folders)


def read_rdma(root: Path) -> tuple[RdmaFacts, ...]:
    """Return the InfiniBand and RoCE devices below `root`."""
    return tuple(_read_rdma(root, f) for f in list_folder(root / "sys/class/infiniband"))


def nic_rows(nics: tuple[NicFacts, ...], rdma: tuple[RdmaFacts, ...]) -> Rows:
    """Return the facts of network cards for a person."""
    rows = [(f"NIC {show(nic.name)}", _describe_nic(nic)) for nic in nics]
    rows += [(f"RDMA {show(device.name)}", _describe_rdma(device)) for device in rdma]
    return rows or [("NICs", "none")]


def _describe_nic(nic: NicFacts) -> str:
    speed = nic.speed_mbit_per_s
    return ", ".join(
        (
            describe_device(nic.pci),
            f"link {show(nic.state)}",
            "speed unknown" if speed is None else format_rate(speed * 1e6, "bit/s"),
            f"MTU {show(nic.mtu)}",
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


def _read_nic(root: Path, folder: Path) -> NicFacts:
    speed = read_natural(folder / "speed")
    return NicFacts(
        name=folder.name,
        pci=read_pci_device(root, folder / "device"),
        driver=link_target(folder / "device/driver"),
        firmware=_read_firmware(root, folder),
        state=read_word(folder / "operstate"),
        speed_mbit_per_s=speed if speed and speed < _SPEED_LIMIT - 1 else None,
        mtu=read_natural(folder / "mtu"),
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


def _read_rdma(root: Path, folder: Path) -> RdmaFacts:
    return RdmaFacts(
        name=folder.name,
        pci=read_pci_device(root, folder / "device"),
        hca_type=read_word(folder / "hca_type"),
        firmware=read_word(folder / "fw_ver"),
        ports=tuple(_read_port(number, f) for number, f in list_numbered(folder / "ports", "")),
    )


def _read_port(number: int, folder: Path) -> RdmaPort:
    physical = _read_state(folder / "phys_state")
    rate = _RATE.match(read_word(folder / "rate") or "")
    return RdmaPort(
        port=number,
        state=_read_state(folder / "state"),
        physical=physical,
        rate_gbit_per_s=float(rate[1]) if rate and physical == "LinkUp" else None,
        link_layer=read_word(folder / "link_layer"),
    )


def _read_state(path: Path) -> str | None:
    """Return the word of a file such as `4: ACTIVE`."""
    match = _STATE.fullmatch(read_word(path) or "")
    return match[1] if match else None
