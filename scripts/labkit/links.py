"""The switch and its cables: made, shaped and read back."""

import json
import os
from pathlib import Path
from typing import Any

from labkit.cluster import ETHERNET_BYTES, FRAME_BYTES, Cluster, Link, Target, burst_bytes
from labkit.namespaces import FOLDER, SWITCH, inside, make_namespaces, mount_sysfs

QUEUE_S, QUEUE_FRAMES = 0.02, 32
"""How much traffic, and at least how many frames, a link queues before it drops any."""
BRIDGE_FILTERS = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def make_switch(cluster: Cluster) -> None:
    """Make one bridge for all first links, and one for all second links."""
    make_namespaces(SWITCH, ("net", "mnt"))
    mount_sysfs(SWITCH)
    if BRIDGE_FILTERS.exists():  # every frame would pass the firewall's rules
        inside(SWITCH, "tee", BRIDGE_FILTERS, stdin="0")
    for link in cluster.links_of(cluster.hosts[0]):
        kind = ("mtu", cluster.mtu_bytes, "type", "bridge", "mcast_snooping", "0")
        inside(SWITCH, "ip", "link", "add", "name", link.bridge, *kind)
        inside(SWITCH, "ip", "link", "set", link.bridge, "addrgenmode", "none", "up")


def connect(link: Link, cluster: Cluster) -> None:
    """Plug a host into the switch, with an address and the nominal rate."""
    mtu = ("mtu", cluster.mtu_bytes)
    # From the host's side: its mount namespace is the younger one, and has the switch's files.
    peer = ("peer", "name", link.port, *mtu, "netns", FOLDER / SWITCH / "net")
    inside(link.host, "ip", "link", "add", "name", link.interface, *mtu, "type", "veth", *peer)
    port = ("master", link.bridge, "addrgenmode", "none", "up")
    inside(SWITCH, "ip", "link", "set", link.port, *port)
    # TCP hands packets of up to 64 KiB to an interface. The shaper cuts those above its burst into
    # frames, but of a smaller one it counts Ethernet's bytes once: here one packet is one frame.
    whole = ("gso_max_segs", 1, "addrgenmode", "none", "up")
    inside(link.host, "ip", "link", "set", link.interface, *whole)
    address = ("address", "add", f"{link.address}/24", "dev", link.interface)
    inside(link.host, "ip", *address, "noprefixroute")
    # CUBIC is what most clusters run. The machine's default may be BBR, which sends at its own
    # estimate of the rate. Per route, since a namespace may not choose every algorithm as default.
    route = ("route", "add", link.subnet, "dev", link.interface, "src", link.address)
    inside(link.host, "ip", *route, "congctl", "cubic")
    for name, interface in _senders(link).values():
        _keep_order(name, interface)
    shape(Target((link,), ("tx", "rx")), cluster.rate_bits_per_s, cluster)


def shape(target: Target, rate_bits_per_s: int, cluster: Cluster) -> None:
    """Limit links to a rate that counts whole frames, as a wire does."""
    frames_bytes = QUEUE_FRAMES * (cluster.mtu_bytes + FRAME_BYTES)
    queue_bytes = max(round(rate_bits_per_s / 8 * QUEUE_S), frames_bytes)
    burst = f"{burst_bytes(rate_bits_per_s)}b"
    limits = ("rate", f"{rate_bits_per_s}bit", "burst", burst, "limit", queue_bytes)
    for link in target.links:
        for direction in target.directions:
            name, interface = _senders(link)[direction]
            shaper = ("root", "tbf", *limits, "overhead", ETHERNET_BYTES)
            inside(name, "tc", "qdisc", "replace", "dev", interface, *shaper)


def set_mtu(link: Link, mtu_bytes: int) -> None:
    """Give the interface of a host another MTU than its port, as a mistaken administrator would."""
    inside(link.host, "ip", "link", "set", link.interface, "mtu", mtu_bytes)


def set_state(link: Link, state: str) -> None:
    """Take the port of a switch `up` or `down`: the host sees its carrier come and go."""
    inside(SWITCH, "ip", "link", "set", link.port, state)


def read_links(cluster: Cluster) -> list[tuple[Link, str, int, float, float]]:
    """Return of every link its state, the host's MTU, and both rates in bit/s, from the kernel."""
    rates = {name: _read_rates(name) for name in (SWITCH, *cluster.hosts)}
    states = {port["ifname"]: port["operstate"].lower() for port in _ask(SWITCH, "ip", "link")}
    rows = []
    for host in cluster.hosts:
        mtus = {port["ifname"]: port["mtu"] for port in _ask(host, "ip", "link")}
        for link in cluster.links_of(host):
            tx, rx = (rates[name].get(end, float("inf")) for name, end in _senders(link).values())
            rows.append((link, states[link.port], mtus[link.interface], tx, rx))
    return rows


def _senders(link: Link) -> dict[str, tuple[str, str]]:
    """Return the namespace and interface that send, by direction as the host sees it."""
    return {"tx": (link.host, link.interface), "rx": (SWITCH, link.port)}


def _keep_order(name: str, interface: str) -> None:
    """Let the frames of a flow be received on one CPU.

    They would be received on the CPU that sent them, which changes with every timer of the shaper:
    frames overtake each other, and TCP takes that for loss.
    """
    mask = (1 << (os.cpu_count() or 1)) - 1
    words = f"{mask:x}".rjust(-(-len(f"{mask:x}") // 8) * 8, "0")
    text = ",".join(words[at : at + 8] for at in range(0, len(words), 8))
    inside(name, "tee", f"/sys/class/net/{interface}/queues/rx-0/rps_cpus", stdin=text)


def _read_rates(name: str) -> dict[str, float]:
    shapers = _ask(name, "tc", "qdisc")
    return {q["dev"]: q["options"]["rate"] * 8 for q in shapers if q["kind"] == "tbf"}


def _ask(name: str, tool: str, what: str) -> Any:
    return json.loads(inside(name, tool, "-json", what, "show"))
