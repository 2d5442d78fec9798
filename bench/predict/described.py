"""From a machine description to the numbers that models take.

Two questions are asked of it. A prediction wants what a part usually does, at payload rates and as
measured where the catalogue has that; a bound wants what it never exceeds.
"""

from math import inf
from typing import NamedTuple

import msgspec

from bench.core.errors import RequestError
from bench.core.units import format_rate, parse_rate
from bench.machine.catalogue import Catalogue, find
from bench.machine.description import Description
from bench.machine.description.parts import Gpu, Nic
from bench.machine.description.quantity import End, LinkRate
from bench.predict.hardware import (
    Packets,
    link_hop,
    node_intra,
    node_network,
    payload_rate,
    processor,
)
from bench.predict.model.datasheet.collectives import Cluster
from bench.predict.model.datasheet.links import tcp_span
from bench.predict.model.datasheet.products import Processor
from bench.predict.model.datasheet.tiers import PATTERNS, through_switches


class Limit(NamedTuple):
    """What a part never exceeds, in base units, and what says so."""

    value: float
    what: str
    source: str | None = None


def count_gpus(described: Description, catalogue: Catalogue) -> int | None:
    """Return the GPUs of a node; None where it has none, or nobody says."""
    gpu, model = described.node.gpu, described.node.model
    if gpu.count is not None:
        return gpu.count
    if model is not None:
        return find(catalogue.nodes, model, "node").gpus
    return None if gpu == Gpu() else 1


def network_limit(described: Description, catalogue: Catalogue) -> Limit | None:
    """Return what a node never sends faster than, bytes per second; None where nothing states it.

    The text has the rate of one adapter, and what that is.
    """
    nic, model = described.node.nic, described.node.model
    each = _port_limit(nic, catalogue)
    if each is None:
        if model is None:
            return None
        rate = parse_rate(find(catalogue.nodes, model, "node").payload)
        return Limit(rate, f"{format_rate(rate, 'B/s')}, all adapters of {model}", described.source)
    times = f"{nic.count} x " if nic.count > 1 else ""
    text = f"{times}{format_rate(each.value, 'B/s')}, {each.what}"
    return Limit(each.value * nic.count, text, described.source_of(nic.link, nic.line, nic.slot))


def link_limit(link: LinkRate, catalogue: Catalogue, packets: Packets | None = None) -> float:
    """Return what a link never exceeds, in bytes per second and direction."""
    return link.high if link.name is None else link_hop(link.name, catalogue, packets).span.high


def _port_limit(nic: Nic, catalogue: Catalogue) -> Limit | None:
    port, slot, packets = _port(nic, catalogue), _slot(nic, catalogue), Packets(mtu=nic.mtu)
    if port is not None:
        rate = link_limit(port, catalogue, packets)
        limit = Limit(rate, port.name or "payload of a link")
    elif nic.line is not None:
        line = nic.line.high
        text = f"TCP on a line of {format_rate(line * 8, 'bit/s')}"
        limit = Limit(tcp_span(line, nic.mtu).high, text)
    else:
        return None
    if slot is None:
        return limit
    behind = link_limit(slot, catalogue)
    return limit if limit.value <= behind else Limit(behind, slot.name or "its slot")


def _port(nic: Nic, catalogue: Catalogue) -> LinkRate | None:
    """Return the link of an adapter, its best one where only its model is stated."""
    if nic.link is not None or nic.line is not None or nic.model is None:
        return nic.link
    return LinkRate(name=find(catalogue.nics, nic.model, "adapter").ports[0])


def _slot(nic: Nic, catalogue: Catalogue) -> LinkRate | None:
    if nic.slot is not None or nic.model is None:
        return nic.slot
    return LinkRate(name=find(catalogue.nics, nic.model, "adapter").host[0])


def usual_network(described: Description, end: End, catalogue: Catalogue) -> float | None:
    """Return the payload rate of a node each way; None where nothing states it."""
    nic, model = described.node.nic, described.node.model
    port, slot = _port(nic, catalogue), _slot(nic, catalogue)
    if port is not None:
        each = _usual(port, end, catalogue)
    elif nic.line is not None:
        each = tcp_span(nic.line.at(end), nic.mtu).usual
    else:
        return (
            None if model is None else node_network(find(catalogue.nodes, model, "node"), catalogue)
        )
    if slot is not None:
        each = min(each, _usual(slot, end, catalogue))
    return each * nic.count


def usual_intra(described: Description, end: End, catalogue: Catalogue) -> float | None:
    """Return the payload rate of a GPU inside its node; None where nothing states it."""
    node = described.node
    if node.gpu.link is not None:
        return _usual(node.gpu.link, end, catalogue)
    if node.model is not None:
        return node_intra(find(catalogue.nodes, node.model, "node"), catalogue)
    return None


def _usual(link: LinkRate, end: End, catalogue: Catalogue) -> float:
    return link.at(end) if link.name is None else payload_rate(link.name, catalogue)


def gpu_model(described: Description, catalogue: Catalogue) -> str | None:
    """Return the name of the GPUs in the catalogue; None where it is not stated."""
    node = described.node
    if node.gpu.model is not None or node.model is None:
        return node.gpu.model
    return find(catalogue.nodes, node.model, "node").gpu


def gpu_processor(described: Description, dtype: str, end: End, catalogue: Catalogue) -> Processor:
    """Return what one process sees of a GPU; stated numbers beat those of the catalogue.

    Raises:
        RequestError: where neither has the peak for the dtype, or the bandwidth.
    """
    gpu, model = described.node.gpu, gpu_model(described, catalogue)
    peak = gpu.peak.of(dtype)
    if model is None:
        if peak is None or gpu.bandwidth is None:
            lacks = f"peak.{dtype}" if peak is None else "bandwidth"
            raise RequestError(
                f"node.gpu.{lacks}: missing; state it, or a model of the catalogue, such as "
                "'h100-sxm'"
            )
        return Processor(peak.at(end), peak.at(end), gpu.bandwidth.at(end), 1)
    row = find(catalogue.gpus, model, "GPU")
    if peak is None:
        chip = processor(row, dtype)
    else:
        tiles = row.tiles.shapes if row.tiles else ()
        chip = Processor(
            peak.at(end), peak.at(end), row.memory.rate / row.dies,
            row.multiprocessors // row.dies, tiles,
        )  # fmt: skip
    if gpu.bandwidth is None:
        return chip
    return msgspec.structs.replace(chip, bandwidth=gpu.bandwidth.at(end))


def gpu_memory(described: Description, catalogue: Catalogue) -> int | None:
    """Return the bytes that a process has on a GPU at least; None where nothing states it."""
    if described.node.gpu.memory is not None:
        return int(described.node.gpu.memory.low)
    model = gpu_model(described, catalogue)
    if model is None:
        return None
    row = find(catalogue.gpus, model, "GPU")
    return row.memory.nbytes // row.dies


def exchanging_cluster(
    described: Description, algorithm: str, end: End, catalogue: Catalogue
) -> Cluster:
    """Return the nodes and GPUs as the models of exchanges take them.

    Raises:
        RequestError: where the number of nodes or a rate is missing, or nobody knows what the
            algorithm loads an oversubscribed network with.
    """
    nodes = described.count_nodes()
    if nodes is None:
        raise RequestError("nodes: missing; say how many there are, or name them in hosts")
    gpus = count_gpus(described, catalogue) or 1
    network = usual_network(described, end, catalogue)
    intra = usual_intra(described, end, catalogue)
    if network is None and nodes > 1:
        raise RequestError("node.nic.link: missing; several nodes need one, such as 'qdr'")
    if network is not None:
        network = _through_switches(described, network, algorithm, nodes)
    latency = described.network.latency
    return Cluster(
        nodes,
        gpus,
        inf if network is None else network,
        intra,
        0.0 if latency is None else latency.at(end),
    )


def _through_switches(described: Description, network: float, algorithm: str, nodes: int) -> float:
    joined = described.network
    if joined.nodes_per_switch is None or joined.oversubscription is None or algorithm == "bound":
        return network
    if (
        algorithm not in PATTERNS
        and joined.oversubscription > 1
        and nodes > joined.nodes_per_switch
    ):
        raise RequestError(
            f"what {algorithm} loads an oversubscribed network with is not known; known: "
            f"{', '.join(PATTERNS)}"
        )
    pattern = PATTERNS.get(algorithm, "ring")
    return through_switches(
        network, pattern, nodes, joined.nodes_per_switch, joined.oversubscription
    )
