"""The cluster as it is described: what people ask for, and as `machine.toml` has it.

Nothing here knows what a link really does: that is kept in the kernel and nowhere else.
"""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabError

VARIABLE = "CLUSTERBENCH_LAB"
"""Names another state folder, and with it another lab that can be up at the same time."""
STATE = Path(os.environ.get(VARIABLE) or "/run/clusterbench-lab")
"""A file system in memory that holds files, keys and namespaces of the lab: gone when unmounted."""
MACHINE = STATE / "machine.toml"
HOSTFILE = STATE / "hostfile"
ADDRESSES = STATE / "addresses"
"""A host file too: the same hosts by the address of their first link."""

ETHERNET_BYTES = 24
"""Preamble, checksum and gap of a frame: on a wire, but in no length that the kernel counts."""
FRAME_BYTES = 14 + ETHERNET_BYTES
"""What Ethernet adds to a packet."""
TCP_BYTES = 52
"""Headers of IPv4 and of TCP with time stamps: part of the MTU, and no payload."""

BURST_BYTES, BURST_S = 9_038, 75e-6
"""What an idle link sends at once: the largest frame, and what it should have sent while a timer
fires late. More makes messages of that size look faster than the link; less costs rate."""

RATE_UNITS = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
RATE_LIMITS = (10**6, 10**10)
MTU_LIMITS = (576, 9000)
HOST_LIMITS = (2, 16)
LINK_LIMITS = (1, 2)


@dataclass(frozen=True)
class Link:
    """One cable: an interface of a host, and the port of the switch that it is plugged into."""

    host: str
    number: int

    @property
    def interface(self) -> str:
        """Its name on the host."""
        return f"eth{self.number}"

    @property
    def port(self) -> str:
        """Its name on the switch."""
        return f"{self.host}.{self.number}"

    @property
    def bridge(self) -> str:
        """The bridge that joins all links of its number."""
        return f"net{self.number}"

    @property
    def subnet(self) -> str:
        """The subnet of all links of its number."""
        return f"10.78.{self.number}.0/24"

    @property
    def address(self) -> str:
        """The host's address on it."""
        return f"10.78.{self.number}.{self.host[1:]}"


@dataclass(frozen=True)
class Cluster:
    """What a buyer would read: nominal numbers, the same for every host."""

    hosts: tuple[str, ...]
    rate_bits_per_s: int
    """Of one link, one way."""
    mtu_bytes: int
    links: int
    """Of every host."""

    @property
    def payload_bytes_per_s(self) -> float:
        """What TCP carries over one link, one way."""
        share = (self.mtu_bytes - TCP_BYTES) / (self.mtu_bytes + FRAME_BYTES)
        return self.rate_bits_per_s / 8 * share

    def links_of(self, host: str) -> tuple[Link, ...]:
        """Return the links of a host of the cluster."""
        if host not in self.hosts:
            raise LabError(f"{host!r} is no host of the lab; it has h1 to {self.hosts[-1]}")
        return tuple(Link(host, number) for number in range(1, self.links + 1))


@dataclass(frozen=True)
class Target:
    """Some links, and the directions of them that are meant: tx, rx or both."""

    links: tuple[Link, ...]
    directions: tuple[str, ...]


def burst_bytes(rate_bits_per_s: int) -> int:
    """Return what a link of this rate sends at once after a pause."""
    return BURST_BYTES + round(rate_bits_per_s / 8 * BURST_S)


def check_range(name: str, value: int, limits: tuple[int, int]) -> int:
    """Return the value where it is within the limits."""
    if not limits[0] <= value <= limits[1]:
        raise LabError(f"{name} is {value}; give {limits[0]} to {limits[1]}")
    return value


def parse_rate(text: str, nominal: int | None = None) -> int:
    """Return the bit/s that `400mbit` names, or `70%` of a nominal rate."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(kbit|mbit|gbit|%)", text, re.ASCII)
    units = RATE_UNITS if nominal is None else {**RATE_UNITS, "%": nominal / 100}
    if match is None or match[2] not in units:
        raise LabError(f"{text!r} is no rate; write such as 400mbit or 1gbit")
    rate = round(float(match[1]) * units[match[2]])
    if not RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]:
        raise LabError(f"{text!r} is out of range; a link does 1mbit to 10gbit")
    return rate


def parse_target(text: str, cluster: Cluster) -> Target:
    """Return what `h3`, `h3.2` or `h3:tx` names."""
    match = re.fullmatch(r"(h\d+)(?:\.(\d))?(?::(tx|rx))?", text, re.ASCII)
    if match is None:
        raise LabError(f"{text!r} names no link; write such as h3, h3.2 or h3:tx")
    links = cluster.links_of(match[1])
    if match[2]:
        number = check_range(f"the link of {text!r}", int(match[2]), (1, cluster.links))
        links = links[number - 1 : number]
    return Target(links, (match[3],) if match[3] else ("tx", "rx"))


def parse_slow(text: str, cluster: Cluster) -> tuple[Target, int]:
    """Return what `h3:tx=70%` names, and its real rate in bit/s."""
    target, equals, rate = text.partition("=")
    if not equals:
        raise LabError(f"--slow {text!r} has no rate; write such as h3=100mbit or h3:tx=70%")
    return parse_target(target, cluster), parse_rate(rate, cluster.rate_bits_per_s)


def parse_setting(text: str, target: str, cluster: Cluster) -> tuple[str, int]:
    """Return `rate`, `mtu`, `up` or `down`, and the number that comes with the first two."""
    name, _, value = text.partition("=")
    if name == "rate":
        return name, parse_rate(value, cluster.rate_bits_per_s)
    if name != "mtu" and text not in ("up", "down"):
        raise LabError(f"{text!r} sets nothing; give rate=100mbit, mtu=1500, down or up")
    if ":" in target:
        raise LabError(f"only a rate has a direction; give {text} without :tx or :rx")
    if name == "mtu":
        size = int(value) if re.fullmatch(r"\d{1,5}", value, re.ASCII) else -1
        return name, check_range("mtu", size, MTU_LIMITS)
    return text, 0


def check_state() -> None:
    """Raise where the state folder has a name that programs of the lab would take for several."""
    if not re.fullmatch(r"/[\w./-]+", str(STATE), re.ASCII):
        raise LabError(f"{VARIABLE} is {str(STATE)!r}; give a path such as /run/my-lab")


def check_hostname(text: str) -> str:
    """Return the text where it can be the name that hosts give themselves."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", text, re.ASCII):
        raise LabError(f"{text!r} is no host name; give up to 32 of a-z, 0-9 and -, such as node")
    return text


def write_description(cluster: Cluster) -> None:
    """Write `hostfile`, `addresses` and `machine.toml`."""
    HOSTFILE.write_text("".join(f"{host}\n" for host in cluster.hosts))
    addresses = [cluster.links_of(host)[0].address for host in cluster.hosts]
    ADDRESSES.write_text("".join(f"{address}\n" for address in addresses))
    subnets = [link.subnet for link in cluster.links_of(cluster.hosts[0])]
    MACHINE.write_text(
        "# The lab as its seller describes it: nothing here was measured.\n"
        f"hosts = {json.dumps(cluster.hosts)}\n"
        f"links = {cluster.links}  # of every host\n"
        f"subnets = {json.dumps(subnets)}\n"
        f"rate_bits_per_s = {cluster.rate_bits_per_s}  # of one link, one way\n"
        f"mtu_bytes = {cluster.mtu_bytes}\n"
        f"payload_bytes_per_s = {cluster.payload_bytes_per_s:.1f}  # of TCP on one link, one way\n"
        f"burst_bytes = {burst_bytes(cluster.rate_bits_per_s)}  # at once, after a pause\n"
    )


def read_description() -> Cluster:
    """Return the cluster that is up."""
    try:
        description = tomllib.loads(MACHINE.read_text())
    except FileNotFoundError:
        raise LabError("no lab is up; scripts/lab up --hosts 2 --rate 400mbit makes one") from None
    hosts = tuple(description["hosts"])
    rate, mtu = description["rate_bits_per_s"], description["mtu_bytes"]
    return Cluster(hosts, rate, mtu, description["links"])
