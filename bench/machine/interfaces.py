"""The addresses of this machine, and those that several hosts have.

A bridge of containers or of virtual machines mostly has the same address on every host. A library
that takes it for the way to another host sends to itself, or to nobody.
"""

import ipaddress
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.core.events import SharedAddress
from bench.machine.netlink import Channel, read_attributes, read_name
from bench.machine.sysfs import read_word

MARKER = "clusterbench-interfaces "
"""Begins the line of the answer, so that what a shell prints is no part of it."""
_MOST_ADDRESSES = 256
"""Of one host: a machine with more is a router of containers, whose addresses are its own."""

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h.
_ROUTE = 0
_GET_LINK, _GET_ADDRESS = 18, 22
_LINK, _ADDRESS = struct.Struct("=BBHiII"), struct.Struct("=BBBBI")
_NAME, _LINK_INFO, _INFO_KIND = 3, 18, 1
_ANY_ADDRESS, _LOCAL_ADDRESS = 1, 2
_UP, _CARRIER = 0x1, 0x10000


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface that is up, hardware or not."""

    name: str
    kind: str | None = None
    """Such as bridge, veth, tun or dummy; None for hardware and loopback."""
    carrier: bool
    addresses: tuple[str, ...] = ()
    """With the length of their networks, such as `172.17.0.1/16`; those of no use to another host
    are left out: loopback, and addresses of one link."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What a host answers."""

    identity: str
    """Of the machine and, in a container, of its network: one host may have several names."""
    interfaces: tuple[Interface, ...]


def read_interfaces() -> tuple[Interface, ...]:
    """Return the interfaces of this process's network that are up."""
    channel = Channel(_ROUTE)
    try:
        links = [*channel.ask(_GET_LINK, _LINK.pack(0, 0, 0, 0, 0, 0), dump=True)]
        addresses: dict[int, list[str]] = defaultdict(list)
        for _, body in channel.ask(_GET_ADDRESS, _ADDRESS.pack(0, 0, 0, 0, 0), dump=True):
            if len(body) >= _ADDRESS.size:
                _, length, _, _, index = _ADDRESS.unpack_from(body)
                found = dict(read_attributes(body[_ADDRESS.size :]))
                # Of a tunnel the other one is that of its far end.
                packed = found.get(_LOCAL_ADDRESS, found.get(_ANY_ADDRESS, b""))
                addresses[index] += _useful(packed, length)
    finally:
        channel.close()
    interfaces = []
    for _, body in links:
        if len(body) < _LINK.size:
            continue
        _, _, _, index, flags, _ = _LINK.unpack_from(body)
        found = dict(read_attributes(body[_LINK.size :]))
        info = dict(read_attributes(found.get(_LINK_INFO, b"")))
        name = read_name(found.get(_NAME, b""))
        if name and flags & _UP:
            interfaces.append(
                Interface(
                    name=name,
                    kind=read_name(info.get(_INFO_KIND, b"")) or None,
                    carrier=bool(flags & _CARRIER),
                    addresses=tuple(addresses[index][:_MOST_ADDRESSES]),
                )
            )
    return tuple(interfaces)


def _useful(packed: bytes, length: int) -> list[str]:
    try:
        address = ipaddress.ip_address(packed)
    except ValueError:
        return []
    return [] if address.is_loopback or address.is_link_local else [f"{address}/{length}"]


def read_network() -> Network:
    """Return what this host answers."""
    boot = read_word(Path("/proc/sys/kernel/random/boot_id")) or ""
    try:
        network = str(Path("/proc/self/ns/net").stat().st_ino)
    except OSError:
        network = ""
    return Network(identity=f"{boot}:{network}", interfaces=read_interfaces())


def read_answer(output: str) -> Network | None:
    """Return what a host has printed, or None where it is no answer."""
    for line in output.splitlines():
        if line.startswith(MARKER):
            try:
                return msgspec.json.decode(line.removeprefix(MARKER), type=Network)
            except msgspec.MsgspecError:
                return None
    return None


def find_shared(hosts: Mapping[str, Network]) -> tuple[SharedAddress, ...]:
    """Return every address that more than one host has, by the interface that has it."""
    # Two names of one host, or containers in its network, have its addresses by right.
    once = {network.identity: host for host, network in reversed([*hosts.items()])}
    found: dict[tuple[str, str], dict[str, Interface]] = defaultdict(dict)
    count: dict[str, set[str]] = defaultdict(set)
    for host in once.values():
        for interface in hosts[host].interfaces:
            for address in interface.addresses:
                found[interface.name, address][host] = interface
                count[address].add(host)
    shared = {address for address, having in count.items() if len(having) > 1}
    return tuple(
        SharedAddress(
            interface=name,
            kind=next(iter(of_host.values())).kind,
            address=address,
            carrier=any(interface.carrier for interface in of_host.values()),
            hosts=tuple(sorted(of_host)),
            instead=_ways(hosts[next(iter(of_host))], shared),
        )
        for (name, address), of_host in sorted(found.items())
        if address in shared
    )


def _ways(network: Network, shared: set[str]) -> tuple[str, ...]:
    """Return the interfaces of a host that have an address of its own, and are connected."""
    return tuple(
        interface.name
        for interface in network.interfaces
        if interface.carrier and interface.addresses and shared.isdisjoint(interface.addresses)
    )


def print_network() -> None:
    """Print what this host answers, for whoever asks over ssh."""
    print(MARKER + msgspec.json.encode(read_network()).decode(), flush=True)
