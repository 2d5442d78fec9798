"""From names of the catalogue to the numbers that models take.

The catalogue knows rows and the models know numbers; this is the only place that knows both.
"""

import msgspec

from bench.core.errors import RequestError, nearest, printable
from bench.core.units import parse_rate
from bench.machine.catalogue import Catalogue, Gpu, Node, Peak, find
from bench.predict.model.datasheet import links
from bench.predict.model.datasheet.paths import Hop
from bench.predict.model.datasheet.products import Processor

ELEMENT_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}
MOST_RANKS = 1_000_000
"""Predicted at once: rounds are laid out rank by rank."""


class Packets(msgspec.Struct, frozen=True):
    """What travels over a link: the protocol over Ethernet, and the bytes of a packet."""

    protocol: str = "tcp"
    mtu: int | None = None
    """Unknown where None."""
    pcie_payload: int = 256
    """The maximum payload size of PCIe; root ports of most servers negotiate 256."""


def link_hop(name: str, catalogue: Catalogue, packets: Packets | None = None) -> Hop:
    """Return a link of the catalogue as a hop of a path.

    Raises:
        RequestError: where there is none of that name; the message names the nearest.
    """
    packets = packets or Packets()
    if name in catalogue.links:
        link = catalogue.links[name]
        rate = parse_rate(link.payload)
        if link.family == "infiniband":
            return Hop(name, links.infiniband_span(rate, packets.mtu))
        over = links.roce_span if packets.protocol == "roce" else links.tcp_span
        return Hop(name, over(rate, packets.mtu))
    if name in catalogue.fabrics:
        return Hop(name, links.plain_span(parse_rate(catalogue.fabrics[name].payload)))
    generation, _, lanes = name.partition("-x")
    if generation in catalogue.pcie and lanes in ("1", "2", "4", "8", "16"):
        row = catalogue.pcie[generation]
        coding = row.coding[0] / row.coding[1]
        rate = links.pcie_rate(row.transfers_per_s, int(lanes), coding)
        if row.flit:
            return Hop(name, links.pcie_flit_span(rate, coding))
        return Hop(name, links.pcie_span(rate, packets.pcie_payload))
    raise RequestError(
        f"no link named {printable(name)!r}; {nearest(name, catalogue.link_names())}"
    )


def payload_rate(name: str, catalogue: Catalogue) -> float:
    """Return the payload rate of a link: bytes per second and direction, before packet headers.

    Raises:
        RequestError: where there is none of that name.
    """
    if name in catalogue.links:
        return parse_rate(catalogue.links[name].payload)
    return link_hop(name, catalogue).span.high


def is_between_nodes(name: str, catalogue: Catalogue) -> bool:
    """Return whether a link joins nodes rather than devices of one."""
    return name in catalogue.links


def processor(gpu: Gpu, dtype: str) -> Processor:
    """Return what one process sees of a GPU for products in a dtype.

    Predictions assume the base clock where the sheet gives a rate for it, tensor rather than
    vector units, and sums in fp32 where there is the choice; the highest dense rate is the limit.

    Raises:
        RequestError: where the catalogue has no rate for the dtype.
    """
    peaks = [peak for peak in gpu.peaks if peak.dtype == dtype and peak.dense]
    if not peaks:
        known = ", ".join(sorted({peak.dtype for peak in gpu.peaks}))
        raise RequestError(f"the catalogue has no {dtype} rate of {gpu.name}; it has {known}")
    assumed = max(peaks, key=_preference)
    return Processor(
        peak=assumed.flop_per_s / gpu.dies,
        best_peak=max(peak.flop_per_s for peak in peaks) / gpu.dies,
        bandwidth=gpu.memory.rate / gpu.dies,
        multiprocessors=gpu.multiprocessors // gpu.dies,
        tiles=gpu.tiles.shapes if gpu.tiles else (),
    )


def find_gpu(model: str, catalogue: Catalogue) -> Gpu | None:
    """Return the row of a GPU by the name that its driver gives; None where there is none."""
    return next((row for row in catalogue.gpus.values() if model in row.models), None)


def node_network(node: Node, catalogue: Catalogue) -> float:
    """Return the network of a node, as measured where the catalogue has that; bytes per second."""
    if node.network_effective is None:
        return parse_rate(node.payload)
    return parse_rate(catalogue.effective[node.network_effective].effective)


def node_intra(node: Node, catalogue: Catalogue) -> float | None:
    """Return what a GPU reaches inside its node, measured if possible; bytes per second."""
    if node.intra_effective is not None:
        return parse_rate(catalogue.effective[node.intra_effective].effective)
    fabric = find(catalogue.gpus, node.gpu, "GPU").fabric
    return None if fabric is None else payload_rate(fabric, catalogue)


def _preference(peak: Peak) -> tuple[bool, bool, bool]:
    return (
        peak.unit in ("tensor", "matrix"),
        peak.accumulate == "fp32" or peak.dtype == peak.accumulate == "fp64",
        peak.clock_basis == "base",
    )
