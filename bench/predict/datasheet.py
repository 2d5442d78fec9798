"""Predictions from a datasheet for stated hardware: a request in, a `Prediction` out.

Rates are payload rates of the catalogue or as given, never measured here.
"""

from collections.abc import Sequence
from math import inf

import msgspec

from bench.core.errors import RequestError
from bench.machine.catalogue import Catalogue, find, load
from bench.predict.answer import Answer, Figure
from bench.predict.hardware import (
    ELEMENT_BYTES,
    MOST_RANKS,
    Packets,
    is_between_nodes,
    link_hop,
    node_intra,
    node_network,
    payload_rate,
    processor,
)
from bench.predict.model.datasheet.collectives import ALGORITHMS, Cluster, bound
from bench.predict.model.datasheet.paths import Hop, Passage, staged, streamed
from bench.predict.model.datasheet.products import product
from bench.predict.model.datasheet.splits import split_layer


class TransferRequest(msgspec.Struct, frozen=True):
    """Bytes over a link, and what else they pass."""

    size: int
    link: str
    path: str = "direct"
    host_link: str = "pcie3-x16"
    """Between a GPU and the memory of its host, as negotiated; staged data passes it."""
    nic: str | None = None
    hops: tuple[str, ...] = ()
    latency_s: float = 0.0
    packets: Packets = Packets()


def predict_transfer(request: TransferRequest) -> Answer:
    """Predict one transfer of bytes over a link.

    Raises:
        RequestError: where hardware is unknown or does not fit together.
    """
    catalogue = load()
    link = link_hop(request.link, catalogue, request.packets)
    further = _slot(request, catalogue)
    further += [link_hop(name, catalogue, request.packets) for name in request.hops]
    if request.path == "direct":
        hops = [link, *further]
        passage = streamed(request.size, hops, request.latency_s)
        formula = f"alpha + bytes / ({link.span.formula})"
        if further:
            formula = "alpha + bytes / slowest hop"
    else:
        hops = _staged_hops(request, link, further, catalogue)
        passage = staged(request.size, hops, request.latency_s)
        formula = "hops x alpha + sum over hops of bytes / rate; at best in chunks, all at once"
    return _transfer(request, passage, formula, hops)


def predict_exchange(
    algorithm: str, cluster: Cluster, size: int, node: str | None = None
) -> Answer:
    """Predict an all-reduce of `size` bytes of every rank.

    Args:
        algorithm: of `ALGORITHMS`.
        cluster: nodes, GPUs and payload rates.
        size: bytes of every rank.
        node: the row of the catalogue that the rates came from, to be shown.

    Raises:
        RequestError: where the cluster is too large, or a needed rate is missing.
    """
    if cluster.ranks > MOST_RANKS:
        raise RequestError(f"{cluster.ranks} ranks; at most {MOST_RANKS} are predicted")
    if cluster.nodes == 1 and cluster.gpus > 1 and cluster.intra is None:
        raise RequestError("one node exchanges inside itself: give --intra, such as 15.75GB/s")
    time = ALGORITHMS[algorithm](cluster, size)
    least = bound(cluster, size)
    formula = time.formula
    if cluster.intra is None and cluster.gpus > 1:
        formula += "; links inside a node are taken as free"
    return Answer(
        time.seconds,
        time.low_s,
        time.high_s,
        formula,
        time.limited_by,
        {
            "algorithm": algorithm,
            "bytes": size,
            "nodes": cluster.nodes,
            "gpus_per_node": cluster.gpus,
            "node": node,
            "network_bytes_per_s": None if cluster.network == inf else cluster.network,
            "intra_bytes_per_s": cluster.intra,
            "latency_s": cluster.latency_s,
        },
        {
            "bound_s": least.seconds,
            "times_bound": time.seconds / least.seconds if least.seconds else None,
            "algbw_bytes_per_s": size / time.seconds if time.seconds else None,
        },
    )


def node_cluster(name: str, nodes: int, latency_s: float) -> Cluster:
    """Return a cluster of nodes that the catalogue has.

    Raises:
        RequestError: where it has none of that name.
    """
    catalogue = load()
    node = find(catalogue.nodes, name, "node")
    network, intra = node_network(node, catalogue), node_intra(node, catalogue)
    return Cluster(nodes, node.gpus, network, intra, latency_s)


def rate_of(name: str) -> float:
    """Return the payload rate of a link of the catalogue, in bytes per second and direction.

    Raises:
        RequestError: where it has none of that name.
    """
    return payload_rate(name, load())


def predict_matmul(
    shape: tuple[int, int, int], gpu: str, dtype: str, launch_s: float = 0.0
) -> Answer:
    """Predict C[m, n] = A[m, k] B[k, n] on a GPU of the catalogue.

    Raises:
        RequestError: where the GPU, or its rate for the dtype, is not in the catalogue.
    """
    row = find(load().gpus, gpu, "GPU")
    chip = processor(row, dtype)
    result = product(shape, ELEMENT_BYTES[dtype], chip, launch_s)
    m, k, n = shape
    work = 2 * m * k * n
    if result.tile:
        formula = "launch + max(waves x 2 tm tn k / (peak / multiprocessors), bytes / bandwidth)"
    else:
        formula = "launch + max(2 m k n / peak, bytes / bandwidth); no tiles in the catalogue"
    return Answer(
        result.seconds,
        result.roof_s,
        None,
        formula,
        result.limited_by,
        {
            "m": m,
            "k": k,
            "n": n,
            "gpu": gpu,
            "dtype": dtype,
            "launch_s": launch_s,
            "peak_flop_per_s": chip.peak,
            "memory_bytes_per_s": chip.bandwidth,
            "multiprocessors": chip.multiprocessors,
        },
        {
            "roofline_s": max(work / chip.peak, result.memory_s),
            "memory_s": result.memory_s,
            "tile": list(result.tile) if result.tile else None,
            "waves": result.waves,
            "flop_per_s": work / result.seconds,
            "utilisation": work / result.seconds / chip.peak,
        },
    )


def predict_split(
    batch: int, d_in: int, d_out: int, ranks: int, dtype: str, network: float | None = None
) -> Answer:
    """Count what a dense layer makes every rank exchange, by split; seconds where a rate is given.

    Args:
        batch: examples of all ranks together.
        d_in: rows of the weights.
        d_out: columns of the weights.
        ranks: that share the layer.
        dtype: of every element.
        network: bytes per second of a rank and direction, or None.
    """
    split = split_layer(batch, d_in, d_out, ranks)
    element = ELEMENT_BYTES[dtype]
    figures: dict[str, Figure] = {}
    for name in ("data", "row", "column"):
        elements = getattr(split, f"{name}_elements")
        figures[f"{name}_elements"] = _whole(elements)
        figures[f"{name}_bytes"] = _whole(elements * element)
        figures[f"{name}_s"] = None if network is None else elements * element / network
    figures["row_crossover_batch"] = split.row_crossover_batch
    figures["column_crossover_batch"] = split.column_crossover_batch
    ways = {name: getattr(split, f"{name}_elements") for name in ("data", "row", "column")}
    least = min(ways, key=lambda name: ways[name])
    return Answer(
        None if network is None else ways[least] * element / network,
        None,
        None,
        "data 2 (p - 1) / p d_in d_out; row (p - 1) / p batch (2 d_out + d_in); "
        "column (p - 1) / p batch (d_out + 2 d_in)",
        f"{least} moves least" if ranks > 1 else "nothing: one rank",
        {
            "batch": batch,
            "d_in": d_in,
            "d_out": d_out,
            "ranks": ranks,
            "dtype": dtype,
            "network_bytes_per_s": network,
        },
        figures,
    )


def _slot(request: TransferRequest, catalogue: Catalogue) -> list[Hop]:
    """Return the slot of the adapter, if one is named."""
    if request.nic is None:
        return []
    nic = find(catalogue.nics, request.nic, "adapter")
    if request.link not in nic.ports:
        raise RequestError(
            f"{nic.name} has no port for {request.link}; it has {', '.join(nic.ports)}"
        )
    return [link_hop(nic.host[0], catalogue, request.packets)]


def _staged_hops(
    request: TransferRequest, link: Hop, further: list[Hop], catalogue: Catalogue
) -> list[Hop]:
    """Return the copies of staged data: to the host, over the network, to the other GPU."""
    if request.link in catalogue.fabrics:
        raise RequestError(
            f"{request.link} joins GPUs without their host; for a staged copy give the link "
            "between GPU and host, such as --link pcie4-x16"
        )
    if not is_between_nodes(request.link, catalogue):
        return [link, link, *further]
    host = link_hop(request.host_link, catalogue, request.packets)
    # The adapter streams: of the port and its slot, the slower one is the hop.
    between = min([link, *further], key=lambda hop: hop.span.usual)
    return [host, between, host]


def _transfer(
    request: TransferRequest, passage: Passage, formula: str, hops: Sequence[Hop]
) -> Answer:
    ethernet = request.link.endswith("gbe")
    return Answer(
        passage.seconds,
        passage.low_s,
        passage.high_s,
        formula,
        passage.limited_by,
        {
            "bytes": request.size,
            "link": request.link,
            "path": request.path,
            "nic": request.nic,
            "latency_s": request.latency_s,
            "protocol": request.packets.protocol if ethernet else None,
            "mtu": request.packets.mtu,
            "hops": [
                {
                    "name": hop.name,
                    "low_bytes_per_s": hop.span.low,
                    "usual_bytes_per_s": hop.span.usual,
                    "high_bytes_per_s": hop.span.high,
                }
                for hop in hops
            ],
        },
        {
            "hops": {hop.name: hop.span.usual for hop in hops},
            "bandwidth_bytes_per_s": request.size / passage.seconds if passage.seconds else None,
        },
    )


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
