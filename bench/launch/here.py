"""The names and addresses of this machine, without asking a name service for those of others."""

import ipaddress
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.core.hostnames import parse_ipv6
from bench.machine.sysfs import read_text

_LOCAL = re.compile(
    r"\|-- ([\d.]{7,15})\n(?:\s+/\d+ (?!host LOCAL).*\n)*\s+/32 host LOCAL", re.ASCII
)
_IPV6 = re.compile(r"^([0-9a-f]{32}) ", re.M | re.ASCII)
_MOST_BYTES = 1 << 24
_ALWAYS = ("localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost")


class _Own(NamedTuple):
    hostname: str
    names: frozenset[str]
    """In small letters."""
    addresses: frozenset[str]


def is_here(host: str, root: Path = Path("/")) -> bool:
    """Return whether a name or an address is one of this machine.

    Names are those that it calls itself and that /etc/hosts gives its addresses; a longer form of
    its own name is looked up, since another domain may have a host of that name too.
    """
    own = _look(socket.gethostname(), root)
    if _address(host) is not None:
        return _is_own(host, own)
    name = host.lower()
    if name in own.names:
        return True
    if name.partition(".")[0] != own.hostname.partition(".")[0]:
        return False
    return any(_is_own(found, own) for found in _resolve(name))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(parse_ipv6(text) or text)
    except ValueError:
        return None


@lru_cache(maxsize=4)
def _look(hostname: str, root: Path) -> _Own:
    """Return what is known without a name service; once, since interfaces do not come and go."""
    addresses = _own_addresses(root)
    hostname = hostname.lower()
    own = _Own(hostname, frozenset(), addresses)
    names = {hostname, hostname.partition(".")[0], *_ALWAYS}
    text = read_text(root / "etc/hosts", _MOST_BYTES) or ""
    for line in text.splitlines():
        address, *called = line.partition("#")[0].lower().split() or [""]
        if address and _is_own(address, own):
            names.update(called)
    return _Own(hostname, frozenset(names), addresses)


def _is_own(text: str, own: _Own) -> bool:
    address = _address(text)
    if address is None:
        return False
    if address.is_loopback or str(address) in own.addresses:
        return True
    return not own.addresses and _sends_from_itself(str(address), address.version)


def _sends_from_itself(address: str, version: int) -> bool:
    """Return whether what goes to an address would come from it; nothing is sent.

    Where a sandbox hides the kernel's tables: of several addresses in one network only the first is
    known so.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False


def _own_addresses(root: Path) -> frozenset[str]:
    """Return the addresses of the interfaces, from the kernel's tables of this namespace."""
    four = _LOCAL.findall(read_text(root / "proc/net/fib_trie", _MOST_BYTES) or "")
    six = _IPV6.findall(read_text(root / "proc/net/if_inet6", _MOST_BYTES) or "")
    return frozenset([*four, *(str(ipaddress.IPv6Address(int(one, 16))) for one in six)])


@lru_cache(maxsize=64)
def _resolve(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple({str(info[4][0]) for info in found})
