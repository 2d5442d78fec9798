"""Bytes that the TCP connections of this process have received, as the kernel counts them."""

import os
import socket
import stat
import struct
from pathlib import Path

from bench.machine.sysfs import list_folder

_FDS = Path("/proc/self/fd")
_RECEIVED = struct.Struct("=Q")
_AT = 128
"""Of tcpi_bytes_received in struct tcp_info (linux/tcp.h), since Linux 4.1."""


def read_received() -> dict[tuple[int, str], int]:
    """Return the bytes that each TCP connection has received, by its descriptor and own address."""
    found = {}
    for file in list_folder(_FDS):
        connection = _open(int(file.name))
        if connection is None:
            continue
        with connection:
            try:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                if len(info) >= _AT + _RECEIVED.size:
                    address = str(connection.getsockname()[0])
                    found[int(file.name), address] = _RECEIVED.unpack_from(info, _AT)[0]
            except OSError:  # it is closed, or of another kind
                continue
    return found


def _open(descriptor: int) -> socket.socket | None:
    """Return a copy of a descriptor that is a stream of TCP; None of what is none."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        connection = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    inet = connection.family in (socket.AF_INET, socket.AF_INET6)
    if inet and connection.type == socket.SOCK_STREAM:
        return connection
    connection.close()
    return None
