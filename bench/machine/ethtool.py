"""What the kernel lets people set on a network interface: what the program `ethtool` shows.

Asked by generic netlink, so that no such program need be there. Only what a driver supports is in
the answer: a 0 is a setting, and what is missing is none. Kernels before 5.6 do not know the
question, and virtual interfaces answer little of it: that stays unknown.
"""

import struct
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Annotated, NamedTuple, Self

import msgspec

from bench.machine.compared import COMPARED
from bench.machine.netlink import (
    NESTED,
    Channel,
    make_attribute,
    read_attributes,
    read_name,
    read_number,
)

# linux/netlink.h and linux/genetlink.h.
_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_COMMAND = struct.Struct("=BBH")

# linux/ethtool_netlink.h.
_OF_INTERFACE, _INTERFACE_NAME = 1, 2
_FEATURES_GET, _CHANGEABLE, _ACTIVE = 11, 2, 4
_BITS, _BIT_NAME, _BIT_VALUE = 3, 2, 3


class _Question(NamedTuple):
    """A message, and the name of each number in its answer, in the order of its attributes."""

    message: int
    names: Mapping[int, str]


_RINGS = _Question(15, {6: "rx", 9: "tx", 2: "rx-max", 5: "tx-max", 7: "rx-mini", 8: "rx-jumbo"})
_CHANNELS = _Question(17, {9: "combined", 6: "rx", 7: "tx", 5: "combined-max"})
_COALESCING = _Question(
    19,
    {
        11: "adaptive-rx",
        12: "adaptive-tx",
        2: "rx-usecs",
        3: "rx-frames",
        6: "tx-usecs",
        7: "tx-frames",
        4: "rx-usecs-irq",
        5: "rx-frames-irq",
        8: "tx-usecs-irq",
        9: "tx-frames-irq",
        25: "cqe-mode-rx",
        24: "cqe-mode-tx",
    },
)
_PAUSE = _Question(21, {2: "autonegotiate", 3: "rx", 4: "tx"})

_SHORT = {
    "tx-tcp-segmentation": "tso",
    "tx-generic-segmentation": "gso",
    "rx-gro": "gro",
    "rx-lro": "lro",
    "rx-checksum": "rx-checksum",
    "tx-checksum-ip-generic": "tx-checksum",
    "tx-scatter-gather": "sg",
}
"""Features that are known by another name than the kernel's, or that people look for first."""


class NicSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be set on an interface, as it is set; None where the driver does not tell."""

    features: Annotated[str | None, COMPARED] = None
    """Those that can be changed, such as `tso on, gso on, lro off`."""
    rings: Annotated[str | None, COMPARED] = None
    """Entries of its queues, such as `rx 1024, tx 1024, rx-max 8192, tx-max 8192`."""
    channels: Annotated[str | None, COMPARED] = None
    """Numbers of queues."""
    coalescing: Annotated[str | None, COMPARED] = None
    """When an interrupt tells of packets: microseconds and packets to wait for."""
    pause: Annotated[str | None, COMPARED] = None
    """Flow control, such as `autonegotiate on, rx on, tx off`."""

    def describe(self) -> str:
        """Return what is known, for a person; of dozens of features those that people look for."""
        features = (self.features or "").split(", ")
        more = len(features) - len(_SHORT)
        shown = ", ".join(features[: len(_SHORT)]) + (f" and {more} more" if more > 0 else "")
        known = {
            "rings": self.rings,
            "channels": self.channels,
            "coalescing": self.coalescing,
            "pause": self.pause,
            "features": shown or None,
        }
        return "; ".join(f"{name} {value}" for name, value in known.items() if value is not None)


class Ethtool:
    """Asks the kernel about interfaces of this machine, in the network that the process is in."""

    def __init__(self) -> None:
        self._channel = Channel(_GENERIC)
        name = make_attribute(_FAMILY_NAME, b"ethtool\0")
        found = dict(self._exchange(_CONTROL, _GET_FAMILY, 2, name))
        self._family = read_number(found.get(_FAMILY_ID, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._channel.close()

    def read(self, interface: str) -> NicSettings | None:
        """Return what is set on an interface; None where nothing is known of it."""
        found = NicSettings(
            features=self._features(interface),
            rings=self._numbers(interface, _RINGS),
            channels=self._numbers(interface, _CHANNELS),
            coalescing=self._numbers(interface, _COALESCING),
            pause=self._numbers(interface, _PAUSE),
        )
        return None if found == NicSettings() else found

    def _features(self, interface: str) -> str | None:
        answer = self._ask(interface, _FEATURES_GET)
        changeable = {name for name, on in _read_bits(answer.get(_CHANGEABLE, b"")) if on}
        active = {name for name, _ in _read_bits(answer.get(_ACTIVE, b""))}
        order = [name for name in _SHORT if name in changeable]
        order += sorted(changeable.difference(_SHORT))
        words = [f"{_SHORT.get(n, n)} {'on' if n in active else 'off'}" for n in order]
        return ", ".join(words) or None

    def _numbers(self, interface: str, question: _Question) -> str | None:
        answer = self._ask(interface, question.message)
        words = [
            f"{name} {_show(answer[kind])}"
            for kind, name in question.names.items()
            if kind in answer
        ]
        return ", ".join(words) or None

    def _ask(self, interface: str, message: int) -> dict[int, bytes]:
        if self._family is None:
            return {}
        name = make_attribute(_INTERFACE_NAME, interface.encode() + b"\0")
        header = make_attribute(_OF_INTERFACE | NESTED, name)
        return dict(self._exchange(self._family, message, 1, header))

    def _exchange(
        self, family: int, command: int, version: int, attributes: bytes
    ) -> Iterator[tuple[int, bytes]]:
        body = _COMMAND.pack(command, version, 0) + attributes
        for _, answer in self._channel.ask(family, body):
            yield from read_attributes(answer[_COMMAND.size :])


def _read_bits(bitset: bytes) -> Iterator[tuple[str, bool]]:
    """Yield the names of a set of bits, and whether each is said to be set."""
    for kind, bits in read_attributes(bitset):
        if kind != _BITS:
            continue
        for _, bit in read_attributes(bits):
            found = dict(read_attributes(bit))
            if name := read_name(found.get(_BIT_NAME, b"")):
                yield name, _BIT_VALUE in found


def _show(value: bytes) -> str:
    """Return a number; those of one byte are switches."""
    if len(value) == 1:
        return "on" if value[0] else "off"
    number = read_number(value)
    return "?" if number is None else str(number)
