"""Checks of interfaces that lead to no other host, which an MPI may take for the way there.

What is said of each MPI was tried with Open MPI 5.0.11 and MPICH 5.0.2 (docs/odd-machines.md).
"""

import ipaddress
from collections.abc import Iterable, Mapping

from bench.core.errors import printable
from bench.core.events import SharedAddress
from bench.core.hostnames import fold_hosts
from bench.core.records import About, Finding
from bench.machine.interfaces import Interface

SHARED_ADDRESS = "shared-address"
ODD_INTERFACE = "odd-interface"

_EXCLUDE, _INCLUDE = "OMPI_MCA_btl_tcp_if_exclude", "OMPI_MCA_btl_tcp_if_include"
_ALWAYS_EXCLUDED = "127.0.0.1/8,sppp"
"""Open MPI's own default: a list that is given takes its place, and without loopback in it ranks
connect to themselves."""
_GIVEN = {
    "172.17.0.1/16": "Docker",
    "10.88.0.1/16": "Podman",
    "192.168.122.1/24": "libvirt",
    "10.0.3.1/24": "LXC",
}
"""Addresses that a program gives its bridge on every host."""


def check_interfaces(
    interfaces: Iterable[Interface], mpi: str | None, environ: Mapping[str, str]
) -> list[Finding]:
    """Check whether a bridge, or a link that is not connected, stands beside the way to others.

    Args:
        interfaces: of this machine that are up.
        mpi: the name of its MPI.
        environ: settings of that MPI.
    """
    with_address = [found for found in interfaces if found.addresses]
    ways = [found.name for found in with_address if found.kind != "bridge" and found.carrier]
    findings = []
    for found in with_address:
        if found.name in ways or not ways or _is_left_out(found.name, found.addresses, environ):
            continue
        address = found.addresses[0]
        giver = _GIVEN.get(address)
        what = "a bridge" if found.kind == "bridge" else "up without carrier"
        often = f", the address that {giver} gives every host" if giver else ""
        findings.append(
            Finding(
                name=ODD_INTERFACE,
                level="warning" if giver else "note",
                text=f"{printable(found.name)} is {what}, with {address}{often}: in a run on "
                "several hosts an MPI may take it for the way between them",
                advice=f"ask them with `clusterbench doctor --hosts`; "
                f"{_describe_setting(mpi, [found.name], ways)}",
                value=address,
            )
        )
    return findings


def check_shared(
    shared: Iterable[SharedAddress], mpi: str | None, environ: Mapping[str, str]
) -> list[Finding]:
    """Return a warning for each address that several hosts have.

    Args:
        shared: those addresses.
        mpi: the name of the MPI that passes messages.
        environ: settings of that MPI.
    """
    every = [s for s in shared if not _is_left_out(s.interface, (s.address,), environ)]
    names = list(dict.fromkeys(s.interface for s in every))
    return [
        Finding(
            name=SHARED_ADDRESS,
            level="warning",
            text=f"{describe_shared(s)}: no host reaches another by it, and an MPI that takes it "
            "for the way between them waits for ever or ends",
            advice=_describe_setting(mpi, names, s.instead),
            about=About(hosts=s.hosts),
            value=printable(s.address),
        )
        for s in every
    ]


def describe_shared(shared: SharedAddress) -> str:
    """Return what has the address, and where, such as `docker0 (bridge) has ... on n[1-2]`."""
    kinds = [*([printable(shared.kind)] if shared.kind else [])]
    kinds += [] if shared.carrier else ["nothing connected"]
    kind = f" ({', '.join(kinds)})" if kinds else ""
    address = printable(shared.address)
    return f"{printable(shared.interface)}{kind} has {address} on all of {fold_hosts(shared.hosts)}"


def _describe_setting(mpi: str | None, names: Iterable[str], ways: Iterable[str]) -> str:
    """Return which setting leaves interfaces out, for the MPI at hand, or for both."""
    left_out = ",".join(printable(name) for name in names)
    way = ",".join(printable(name) for name in ways) or "INTERFACE"
    open_mpi = f"`export {_EXCLUDE}={_ALWAYS_EXCLUDED},{left_out}`"
    mpich = f"`export UCX_NET_DEVICES={way}`, or of a build for libfabric FI_TCP_IFACE and "
    mpich += "FI_SOCKETS_IFACE"
    if mpi == "Open MPI":
        return f"{open_mpi} leaves it out"
    if mpi == "MPICH":
        return f"{mpich} name another one"
    return f"{open_mpi} leaves it out with Open MPI; with MPICH {mpich} name another one"


def _is_left_out(name: str, addresses: Iterable[str], environ: Mapping[str, str]) -> bool:
    """Return whether settings of Open MPI already leave an interface out."""
    if wanted := environ.get(_INCLUDE):
        return not _is_named(name, addresses, wanted)
    return _is_named(name, addresses, environ.get(_EXCLUDE, ""))


def _is_named(name: str, addresses: Iterable[str], listed: str) -> bool:
    words = [word.strip() for word in listed.split(",") if word.strip()]
    if name in words:
        return True
    # Of the words those are networks that are no interface's name.
    networks = [n for word in words if (n := _read_interface(word)) is not None]
    own = [_read_interface(address) for address in addresses]
    return bool(own) and all(
        any(address is not None and address.ip in network.network for network in networks)
        for address in own
    )


def _read_interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        return None
