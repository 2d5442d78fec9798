"""What rows of the catalogue must agree on: physics, arithmetic, and each other.

Every rule is here because a public catalogue breaks it: sparse rates sold as peaks, both
directions added up, capacities that no set of chips has, a port faster than its slot.
"""

import re
from collections.abc import Iterator

from bench.core.units import parse_bytes, parse_rate
from bench.machine.catalogue import Catalogue, Gpu, Memory, Peak

FLOP_TOLERANCE = 0.01
"""Sheets round their rates to two or three digits."""
PIN_TOLERANCE = 0.01
_GDDR_BITS, _HBM_BITS = 32, 1024
_GDDR_CHIPS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Gigabytes behind 32 bits, one chip or a pair of them."""
_HBM_STACKS = (4, 8, 16, 24)
_HBM_LEAST_USED = 0.93
"""Of a stack; vendors hold some of a 24 GB stack back."""


def contradictions(catalogue: Catalogue) -> list[str]:
    """Return one line for every row that cannot be right."""
    return [
        *_sources(catalogue),
        *_links(catalogue),
        *_adapters(catalogue),
        *(line for gpu in catalogue.gpus.values() for line in gpu_contradictions(gpu, catalogue)),
        *_measured(catalogue),
        *_nodes(catalogue),
    ]


def gpu_contradictions(gpu: Gpu, catalogue: Catalogue) -> list[str]:
    """Return what cannot be right about a GPU."""
    wrong = [*_memory(gpu.memory), *_peaks(gpu)]
    stated = re.search(r"(\d+)gb", gpu.name)
    if stated and gpu.memory.nbytes != parse_bytes(f"{stated[1]} GB"):
        wrong.append(f"its name says {stated[1]} GB, its memory {gpu.memory.size}")
    if gpu.fabric is not None and gpu.fabric not in catalogue.fabrics:
        wrong.append(f"no fabric {gpu.fabric}")
    if (gpu.fabric is None) != (gpu.reach is None):
        wrong.append("fabric and reach go together")
    if gpu.form == "card" and gpu.reach not in (None, "pair"):
        wrong.append(f"a card in a slot has links over a bridge to one other, not a {gpu.reach}")
    if _slot_rate(gpu.host, catalogue) is None:
        wrong.append(f"no slot {gpu.host}")
    return [f"{gpu.name}: {line}" for line in wrong]


def _sources(catalogue: Catalogue) -> Iterator[str]:
    tables = (
        catalogue.pcie, catalogue.links, catalogue.fabrics, catalogue.nics, catalogue.gpus,
        catalogue.effective, catalogue.nodes,
    )  # fmt: skip
    for table in tables:
        for row in table.values():
            unknown = set(row.sources) - set(catalogue.sources)
            if unknown:
                yield f"{row.name}: no source {', '.join(sorted(unknown))}"
            # One measurement has one author; what counts as a fact needs two.
            if len(set(row.sources)) < (1 if table is catalogue.effective else 2):
                yield f"{row.name}: needs two sources"
    for gpu in catalogue.gpus.values():
        if gpu.tiles and not set(gpu.tiles.sources) <= set(catalogue.sources):
            yield f"{gpu.name}: no such source of its tiles"


def _links(catalogue: Catalogue) -> Iterator[str]:
    for link in catalogue.links.values():
        if parse_rate(link.payload) > parse_rate(link.line):
            yield f"{link.name}: payload {link.payload} is over the line's {link.line}"
    for fabric in catalogue.fabrics.values():
        total = fabric.links * parse_rate(fabric.per_link)
        if not _close(parse_rate(fabric.payload), total, 1e-9):
            links = f"{fabric.links} links of {fabric.per_link}"
            yield f"{fabric.name}: {links} are not {fabric.payload}"


def _adapters(catalogue: Catalogue) -> Iterator[str]:
    for nic in catalogue.nics.values():
        missing = [port for port in nic.ports if port not in catalogue.links]
        slots = [_slot_rate(slot, catalogue) for slot in nic.host]
        if missing or None in slots or not nic.ports or not slots:
            yield f"{nic.name}: its ports and its slots must be links of the catalogue"
            continue
        rates = [parse_rate(catalogue.links[port].payload) for port in nic.ports]
        if max(rates) > max(slot for slot in slots if slot is not None) * (1 + 1e-9):
            yield f"{nic.name}: its port {nic.ports[0]} is faster than its slot {nic.host[0]}"


def _memory(memory: Memory) -> Iterator[str]:
    wired = memory.bus_bits * parse_rate(memory.pin)
    if not _close(memory.rate, wired, PIN_TOLERANCE):
        yield f"{memory.bus_bits} bits at {memory.pin} are not {memory.bandwidth}"
    gigabytes = memory.nbytes / 1e9
    if memory.kind.startswith("HBM"):
        stack = gigabytes / (memory.bus_bits / _HBM_BITS)
        fits = any(_HBM_LEAST_USED * size <= stack <= size for size in _HBM_STACKS)
    else:
        fits = gigabytes / (memory.bus_bits / _GDDR_BITS) in _GDDR_CHIPS
    if not fits:
        yield f"no {memory.kind} on {memory.bus_bits} bits makes {memory.size}"


def _peaks(gpu: Gpu) -> Iterator[str]:
    kinds = [(p.dtype, p.accumulate, p.unit, p.clock_basis, p.dense) for p in gpu.peaks]
    if len(set(kinds)) < len(kinds):
        yield "two peaks of one dtype, accumulator, unit and clock"
    for peak in gpu.peaks:
        # A sparse rate counts multiplications by zeros that are never done: twice the dense one.
        built = 2 * peak.lanes * peak.clock_hz * (1 if peak.dense else 2)
        if not _close(peak.flop_per_s, built, FLOP_TOLERANCE):
            yield f"{_words(peak)}: 2 x {peak.lanes} lanes x {peak.clock} are not {peak.rate}"
        if not peak.dense and not any(_same(peak, other) for other in gpu.peaks):
            yield f"{_words(peak)}: a sparse rate without its dense one"


def _same(sparse: Peak, dense: Peak) -> bool:
    return dense.dense and (dense.dtype, dense.accumulate, dense.unit) == (
        sparse.dtype,
        sparse.accumulate,
        sparse.unit,
    )


def _words(peak: Peak) -> str:
    kind = "dense" if peak.dense else "sparse"
    return f"{kind} {peak.dtype} into {peak.accumulate} ({peak.unit}, {peak.clock_basis})"


def _measured(catalogue: Catalogue) -> Iterator[str]:
    for row in catalogue.effective.values():
        if parse_rate(row.effective) > parse_rate(row.payload) and not row.reduces:
            yield f"{row.name}: measured over its payload rate"


def _nodes(catalogue: Catalogue) -> Iterator[str]:
    for node in catalogue.nodes.values():
        if node.gpu not in catalogue.gpus:
            yield f"{node.name}: no GPU {node.gpu}"
        for name in (node.network_effective, node.intra_effective):
            if name is not None and name not in catalogue.effective:
                yield f"{node.name}: no measured rate {name}"


def _slot_rate(slot: str, catalogue: Catalogue) -> float | None:
    name, _, lanes = slot.partition("-x")
    row = catalogue.pcie.get(name)
    if row is None or not lanes.isdecimal():
        return None
    return row.transfers_per_s * int(lanes) * row.coding[0] / row.coding[1] / 8


def _close(stated: float, built: float, tolerance: float) -> bool:
    return abs(stated - built) <= tolerance * built
