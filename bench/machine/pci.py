"""PCI devices in sysfs: names, and the link that each one trained against the best it could."""

import functools
import re
import struct
from pathlib import Path
from typing import Annotated

import msgspec

from bench.machine.compared import COMPARED
from bench.machine.describe import show
from bench.machine.sysfs import read_natural, read_word

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_ID = re.compile(r"0x([0-9a-f]{4})")
_SPEED = re.compile(r"(\d+(?:\.\d+)?) GT/s")
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6, 128.0: 7}
_WIDTHS = frozenset({1, 2, 4, 8, 12, 16, 32})
"""Lanes that PCIe knows; sysfs has 0, 63 or 255 where the width is unknown."""

_NAME_FILES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
_BRIDGE = "0x0604"

# PCI local bus specification 3.0, 6.1 and 6.7; PCI Express base specification, 7.5.3.
_STATUS, _HAS_CAPABILITIES = 0x06, 0x10
_FIRST_CAPABILITY = 0x34
_EXPRESS = 0x10
_DEVICE_CAPABILITIES, _DEVICE_CONTROL = 4, 8
_CONFIG_BYTES = 256
_MOST_CAPABILITIES = 48
"""That fit in there, each of at least 4 bytes; more are a loop."""
_LEAST_BYTES, _LARGEST_SIZE = 128, 5
"""Sizes of packets are coded as powers of two from the least on; the last codes are reserved."""


class PcieLink(msgspec.Struct, frozen=True):
    """Generation and lanes of a PCIe link as trained now, and the most that the device can."""

    generation_now: Annotated[int | None, COMPARED] = None
    width_now: Annotated[int | None, COMPARED] = None
    generation_max: Annotated[int | None, COMPARED] = None
    width_max: Annotated[int | None, COMPARED] = None

    @property
    def narrow(self) -> bool:
        """Whether fewer lanes are known to be up than the device has."""
        return _below(self.width_now, self.width_max)

    @property
    def slow(self) -> bool:
        """Whether the generation is known to be lower than the device's."""
        return _below(self.generation_now, self.generation_max)


class PacketSizes(msgspec.Struct, frozen=True):
    """Most bytes of PCIe packets, as the firmware, the kernel or an administrator has set them."""

    max_payload: Annotated[int | None, COMPARED] = None
    """Of the data in a packet that the device sends, at most what every bridge above it takes."""
    max_payload_possible: Annotated[int | None, COMPARED] = None
    """What the device itself could do."""
    max_read_request: Annotated[int | None, COMPARED] = None
    """That the device asks memory for at once."""


class PciDevice(msgspec.Struct, frozen=True):
    """A device on the PCI bus."""

    address: str
    """Domain, bus, device and function, such as `0000:3b:00.0`."""
    id: Annotated[str | None, COMPARED]
    """Vendor and device, such as `15b3:1021`."""
    name: str | None
    """Of the device, from the machine's `pci.ids`."""
    numa_node: Annotated[int | None, COMPARED]
    link: Annotated[PcieLink | None, COMPARED]
    packets: Annotated[PacketSizes | None, COMPARED] = None
    """None where they are not known: Linux shows them to root alone."""


def read_pci_device(root: Path, path: Path) -> PciDevice | None:
    """Return the PCI device that `path` is or sits on (a virtio NIC has none of its own)."""
    folder = find_pci_folder(path)
    if folder is None:
        return None
    vendor, device = _read_id(folder / "vendor"), _read_id(folder / "device")
    return PciDevice(
        address=folder.name,
        id=f"{vendor}:{device}" if vendor and device else None,
        name=_find_name(root, vendor, device) if vendor and device else None,
        numa_node=read_natural(folder / "numa_node"),
        link=read_link(_card_end(folder)),
        packets=read_packet_sizes(folder / "config"),
    )


def read_link(folder: Path) -> PcieLink | None:
    """Return the link of the PCI device in `folder`; None where nothing is known of it."""
    link = PcieLink(
        generation_now=_read_generation(folder / "current_link_speed"),
        width_now=_read_width(folder / "current_link_width"),
        generation_max=_read_generation(folder / "max_link_speed"),
        width_max=_read_width(folder / "max_link_width"),
    )
    return None if link == PcieLink() else link


def read_packet_sizes(config: Path) -> PacketSizes | None:
    """Return the sizes of packets that a device is set to; None where they are not shown.

    Args:
        config: its configuration space in sysfs, of which others than root see 64 bytes, and its
            capabilities come after those.
    """
    try:
        with config.open("rb") as file:
            space = file.read(_CONFIG_BYTES)
    except OSError:
        return None
    at = _find_capability(space, _EXPRESS)
    if at is None or at + _DEVICE_CONTROL + 2 > len(space):
        return None
    (able,) = struct.unpack_from("<I", space, at + _DEVICE_CAPABILITIES)
    (control,) = struct.unpack_from("<H", space, at + _DEVICE_CONTROL)
    sizes = PacketSizes(_size(control >> 5), _size(able), _size(control >> 12))
    return None if sizes == PacketSizes() else sizes


def _find_capability(space: bytes, wanted: int) -> int | None:
    """Return where a capability stands in a configuration space."""
    # A device that has fallen off the bus reads as ones.
    if len(space) <= _FIRST_CAPABILITY or space[:4] == b"\xff" * 4:
        return None
    if not space[_STATUS] & _HAS_CAPABILITIES:
        return None
    at = space[_FIRST_CAPABILITY] & 0xFC
    for _ in range(_MOST_CAPABILITIES):
        if not 0x40 <= at < len(space) - 1:
            return None
        if space[at] == wanted:
            return at
        at = space[at + 1] & 0xFC
    return None


def _size(code: int) -> int | None:
    code &= 0x7
    return _LEAST_BYTES << code if code <= _LARGEST_SIZE else None


def describe_packets(packets: PacketSizes | None) -> str:
    """Return the sizes in words, such as `MaxPayload 256 of 512 B, MaxReadReq 4096 B`."""
    if packets is None:
        return "MaxPayload and MaxReadReq unknown"
    possible = f" of {packets.max_payload_possible}" if packets.max_payload_possible else ""
    return (
        f"MaxPayload {_known(packets.max_payload)}{possible} B, "
        f"MaxReadReq {_known(packets.max_read_request)} B"
    )


def describe_link(link: PcieLink | None) -> str:
    """Return a link in words, such as `PCIe gen 4 x8 (could be gen 5 x16)`."""
    if link is None:
        return "PCIe unknown"
    now = f"PCIe gen {_known(link.generation_now)} x{_known(link.width_now)}"
    best = f"gen {_known(link.generation_max)} x{_known(link.width_max)}"
    return f"{now} (could be {best})" if link.narrow or link.slow else now


def describe_device(device: PciDevice | None) -> str:
    """Return a device in words: what it is, its link and its NUMA node."""
    if device is None:
        return "no PCI device"
    name = show(device.name or device.id)
    return f"{name}, {describe_link(device.link)}, NUMA {show(device.numa_node)}"


def _below(now: int | None, most: int | None) -> bool:
    return now is not None and most is not None and now < most


def _known(value: int | None) -> str:
    return "?" if value is None else str(value)


def find_pci_folder(path: Path) -> Path | None:
    """Return the folder of the PCI device that `path` is or sits on."""
    try:
        folder = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return None
    return next(
        (f for f in (folder, *folder.parents) if _ADDRESS.fullmatch(f.name)),
        None,
    )


def _card_end(folder: Path) -> Path:
    # Many AMD cards hold a PCIe switch of their own: the GPU's link to it always looks perfect,
    # and only the switch's upstream port shows what the slot gives.
    vendor = _read_id(folder / "vendor")
    while (
        vendor == "1002"
        and _read_id(folder.parent / "vendor") == vendor
        and (read_word(folder.parent / "class") or "").startswith(_BRIDGE)
    ):
        folder = folder.parent
    return folder


def _read_id(path: Path) -> str | None:
    match = _ID.fullmatch(read_word(path) or "")
    return match[1] if match else None


def _read_generation(path: Path) -> int | None:
    match = _SPEED.match(read_word(path) or "")
    return _GENERATIONS.get(float(match[1])) if match else None


def _read_width(path: Path) -> int | None:
    width = read_natural(path)
    return width if width in _WIDTHS else None


@functools.cache
def _find_name(root: Path, vendor: str, device: str) -> str | None:
    """Return a device's name from `pci.ids`, where devices are indented below their vendor."""
    for file in _NAME_FILES:
        try:
            names = (root / file).read_bytes()
        except OSError:
            continue
        block = re.search(rb"^%b  .*\n((?:\t.*\n|#.*\n)*)" % vendor.encode(), names, re.MULTILINE)
        line = block and re.search(rb"^\t%b  (.+)$" % device.encode(), block[1], re.MULTILINE)
        if line:
            return line[1].decode("utf-8", "backslashreplace").strip()
    return None
