"""Questions to the kernel by netlink, as the programs `ip` and `ethtool` ask them."""

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator

# linux/netlink.h.
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_MULTI = 0x2
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF
"""Of an attribute; the other bits say how it is coded."""
NESTED = 0x8000
"""Bit of the kind of an attribute that holds others."""

_TIMEOUT_S = 1.0
"""The kernel answers within the call; this holds only where something stands in between."""
_ANSWER_BYTES = 1 << 17


class Channel:
    """A socket to one part of the kernel; where there can be none, every answer is empty."""

    def __init__(self, protocol: int) -> None:
        self._socket: socket.socket | None = None
        self._number = 0
        with contextlib.suppress(OSError, AttributeError):  # other platforms have no such sockets
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, kind: int, body: bytes, dump: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield the kind and the body of each message of an answer; none of one that is an error.

        Args:
            kind: of the question.
            body: all after the header that every message has.
            dump: to ask for every object of the kind.
        """
        if self._socket is None:
            return
        self._number += 1
        flags = _REQUEST | (_DUMP if dump else 0)
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._number, 0)
        try:
            self._socket.sendto(header + body, (0, 0))
            more = True
            while more:
                answer = self._socket.recv(_ANSWER_BYTES)
                more = False
                for found, marks, number, content in _split(answer):
                    # An answer that came too late for its question is passed over.
                    more = number != self._number or bool(marks & _MULTI)
                    if number == self._number and found in (_ERROR, _DONE):
                        return
                    if number == self._number:
                        yield found, content
        except OSError:
            return


def _split(answer: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, number and body of the messages that came at once."""
    at = 0
    while at + _HEADER.size <= len(answer):
        size, kind, flags, number, _ = _HEADER.unpack_from(answer, at)
        if size < _HEADER.size:
            return
        yield kind, flags, number, answer[at + _HEADER.size : at + size]
        at += size + -size % 4


def make_attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of a message."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the value of each attribute; what is cut off is left out."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _KIND, data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4


def read_number(value: bytes) -> int | None:
    """Return a number of one, two or four bytes."""
    return int.from_bytes(value, sys.byteorder) if len(value) in (1, 2, 4) else None


def read_name(value: bytes) -> str:
    """Return a name that ends with a zero byte; empty where it cannot be printed."""
    name = value.split(b"\0", 1)[0].decode("ascii", "replace")
    return name if name.isprintable() else ""
