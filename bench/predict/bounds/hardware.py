"""What is known of the machine, as rates that nothing exceeds; each comes with its source.

A rate that no fact states is not guessed: `Unbounded` names what is missing.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from bench.core.ceilings import HostCeilings
from bench.core.errors import RequestError, printable
from bench.core.units import format_rate
from bench.machine.catalogue import load
from bench.machine.description import Description
from bench.machine.facts import NodeFacts
from bench.machine.gpu import GpuFacts
from bench.machine.nic import NicFacts, RdmaFacts
from bench.machine.pci import PciDevice, PcieLink
from bench.predict.described import Limit, network_limit
from bench.predict.hardware import find_gpu, link_hop, processor
from bench.predict.model.datasheet.cores import flop_per_cycle, units_of
from bench.predict.model.datasheet.links import tcp_span

_PARAVIRTUAL = {
    "virtio_net", "veth", "hv_netvsc", "vmxnet3", "xen_netfront", "vif", "ena", "gve", "mana",
    "tun", "bridge", "bonding",
}  # fmt: skip
"""Drivers whose stated rate is a constant, or nothing at all."""
_WITH_BOOST = {"intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp"}
"""Drivers whose highest clock includes boost; that of acpi-cpufreq does not."""


_ALIKE = 1.01
"""Two ways to the same rate differ by less."""
NOT_TRIED = "no ceiling was measured on its host"
"""Where no loop could be compiled, or the run is an older one."""


class Unbounded(Exception):  # noqa: N818 - an answer, not a fault
    """There is no bound; the text gives the reason."""


class Rate(NamedTuple):
    """Per second, and where that is from."""

    value: float
    source: str


class HostNetwork(NamedTuple):
    """What leaves and enters a host."""

    rate: float
    """Bytes per second and direction."""
    source: str
    burst: float = 0.0
    """Bytes that pass at once after a pause."""
    reduces: bool = False
    """Whether switches may add up what passes them."""


class Hardware(msgspec.Struct, frozen=True):
    """Facts of the hosts, the machine file where one was given, and what was reached at most."""

    nodes: Mapping[str, NodeFacts] = {}
    machine: Description | None = None
    ceilings: Mapping[str, HostCeilings] = {}

    def facts(self, host: str) -> NodeFacts:
        """Return the facts of a host.

        Raises:
            Unbounded: where there are none.
        """
        if host not in self.nodes:
            raise Unbounded("the facts of its host are not known")
        return self.nodes[host]

    def network(self, host: str) -> HostNetwork:
        """Return what a host can send and receive at most.

        Raises:
            Unbounded: where no fact states it.
        """
        if self.machine is not None:
            limit = network_limit(self.machine, load())
            if limit is not None:
                return _stated_network(self.machine, limit, host)
        facts = self.facts(host)
        return _network_of(facts.nics, facts.rdma)

    def memory(self, host: str) -> Rate:
        """Return the bandwidth of a host's main memory in bytes per second.

        Raises:
            Unbounded: where no fact states it.
        """
        machine = self.machine
        stated = machine.node.memory.bandwidth if machine and machine.names(host) else None
        if machine is None or stated is None:
            raise Unbounded(
                "no fact states the bandwidth of main memory; a machine file may "
                "(node.memory.bandwidth)"
            )
        by = _said_by(machine.source_of(stated))
        return Rate(stated.high, f"{format_rate(stated.high, 'B/s')} of main memory, {by}")

    def cache_bytes(self, host: str) -> int:
        """Return all caches of a host together: what they hold needs no memory.

        Raises:
            Unbounded: where no fact states it.
        """
        caches = self.facts(host).cpu.caches
        if not caches:
            raise Unbounded("the sizes of the caches are not known, and they may hold the data")
        return sum(cache.bytes * cache.instances for cache in caches)

    def core(self, host: str, dtype: str) -> Rate:
        """Return the FLOP/s that no core of a host exceeds.

        Raises:
            Unbounded: where no fact states it.
        """
        cpu = self.facts(host).cpu
        clock_hz, source = self._clock(host)
        units = units_of(cpu.simd, cpu.design)
        each = None if units is None else flop_per_cycle(units, dtype)
        if units is None or each is None:
            raise Unbounded(f"the facts do not tell what a core computes in a cycle in {dtype}")
        text = f"{each} FLOP per cycle ({units.name}) at {format_rate(clock_hz, 'Hz')} ({source})"
        return Rate(each * clock_hz, text)

    def core_ceiling(self, host: str, dtype: str) -> Rate:
        """Return the FLOP/s that a core of a host reached at most, or its clock and units allow.

        Raises:
            Unbounded: where nothing was measured.
        """
        reached = self.ceilings.get(host)
        if reached is None:
            raise Unbounded(NOT_TRIED)
        known = reached.flop_per_s.get(dtype, 0.0)
        cpu = self.facts(host).cpu
        units = units_of(cpu.simd, cpu.design)
        each = None if units is None else flop_per_cycle(units, dtype)
        # Of a design that is not known the extensions tell more units than many have.
        if units is not None and each is not None and units.exact and reached.clock_hz:
            rate = each * reached.clock_hz
            if rate > _ALIKE * known:
                clock = format_rate(reached.clock_hz, "Hz")
                text = f"{each} FLOP per cycle of {units.name} at {clock}, as measured"
                return Rate(rate, text)
        if not known:
            raise Unbounded(f"the facts do not tell what a core computes in a cycle in {dtype}")
        return Rate(known, f"{format_rate(known, 'FLOP/s')} of independent multiply-adds")

    def _clock(self, host: str) -> tuple[float, str]:
        machine, facts = self.machine, self.facts(host)
        stated = machine.node.cpu.clock if machine and machine.names(host) else None
        if machine is not None and stated is not None:
            return stated.high, _said_by(machine.source_of(stated))
        if facts.system.hypervisor:
            raise Unbounded(
                "a virtual machine does not state the highest clock of its cores; a machine file "
                "may (node.cpu.clock)"
            )
        if facts.cpu.mhz_max is None or facts.cpu.scaling_driver not in _WITH_BOOST:
            raise Unbounded(
                "no fact states the highest clock of the cores, boost included; a machine file may "
                "(node.cpu.clock)"
            )
        return facts.cpu.mhz_max * 1e6, "cpufreq"

    def gpus(self, host: str, dtype: str) -> list[Rate]:
        """Return the FLOP/s that each GPU of a host does not exceed.

        Raises:
            Unbounded: where no fact states it.
        """
        gpus = self.facts(host).gpus
        if not gpus:
            raise Unbounded("no GPU is known on its host")
        return [_gpu_rate(gpu, dtype) for gpu in gpus]

    def gpu_memories(self, host: str) -> list[Rate]:
        """Return the bandwidth of the memory of each GPU of a host, bytes per second.

        Raises:
            Unbounded: where no fact states it.
        """
        rows = [find_gpu(gpu.model or "", load()) for gpu in self.facts(host).gpus]
        known = [row for row in rows if row is not None]
        if not known or len(known) < len(rows):
            raise Unbounded("the catalogue has no row for a GPU of its host")
        rates = [(row.memory.rate / row.dies, row.title) for row in known]
        return [
            Rate(rate, f"{format_rate(rate, 'B/s')} of {title}, datasheet") for rate, title in rates
        ]

    def slots(self, host: str) -> list[Rate]:
        """Return what the PCIe link of each GPU of a host carries each way, as negotiated.

        Raises:
            Unbounded: where no fact states it.
        """
        gpus = self.facts(host).gpus
        if not gpus:
            raise Unbounded("no GPU is known on its host")
        # An idle GPU lowers its generation and raises it for a copy: the most counts.
        return [
            _slot_rate(
                gpu.pcie.generation_max if gpu.pcie else None, gpu.pcie, printable(gpu.model)
            )
            for gpu in gpus
        ]


def _said_by(source: str | None) -> str:
    return "machine file" if source is None else f"machine file ({printable(source, 200)})"


def _stated_network(machine: Description, limit: Limit, host: str) -> HostNetwork:
    if not machine.names(host):
        raise Unbounded("the machine file does not name its host")
    nic = machine.node.nic
    return HostNetwork(
        limit.value,
        f"{limit.what}, {_said_by(limit.source)}",
        0.0 if nic.burst is None else nic.burst.high * nic.count,
        machine.network.reduces,
    )


def _network_of(nics: Iterable[NicFacts], rdma: Iterable[RdmaFacts]) -> HostNetwork:
    """Add up the ports that are up, those of one card no faster than its slot."""
    cards: dict[str, _Card] = {}
    owned = set()
    reduces = False
    for device in rdma:
        if device.pci is None:
            raise Unbounded(f"{printable(device.name)} sits on no known slot, so it is virtual")
        owned.add(_card(device.pci))
        for port in device.ports:
            if port.state != "ACTIVE":
                continue
            if port.rate_gbit_per_s is None:
                raise Unbounded(f"{printable(device.name)} states no rate")
            # Switches of InfiniBand may add up (SHARP), and no fact of a host states whether.
            reduces = reduces or port.link_layer == "InfiniBand"
            card = cards.setdefault(_card(device.pci), _Card(0.0, device.pci.link))
            cards[_card(device.pci)] = card._replace(rate=card.rate + port.rate_gbit_per_s * 1.25e8)
    for nic in nics:
        if nic.state == "down" or (nic.pci is not None and _card(nic.pci) in owned):
            continue
        if nic.pci is None or nic.driver in _PARAVIRTUAL:
            raise Unbounded(
                f"{printable(nic.name)} is a virtual NIC, which states no true rate; a machine "
                "file may (node.nic.link)"
            )
        if nic.speed_mbit_per_s is None:
            raise Unbounded(f"{printable(nic.name)} is up and states no rate")
        rate = tcp_span(nic.speed_mbit_per_s * 1.25e5, nic.mtu).high
        card = cards.setdefault(_card(nic.pci), _Card(0.0, nic.pci.link))
        cards[_card(nic.pci)] = card._replace(rate=card.rate + rate)
    if not cards:
        raise Unbounded("no network port of its host is known to be up")
    rates = [card.limited() for card in cards.values()]
    text = " + ".join(f"{format_rate(rate, 'B/s')} ({by})" for rate, by in rates)
    return HostNetwork(sum(rate for rate, _ in rates), f"NIC {text}", reduces=reduces)


class _Card(NamedTuple):
    """The ports of a network card that are up, and its slot."""

    rate: float
    link: PcieLink | None

    def limited(self) -> tuple[float, str]:
        try:
            trained = self.link.generation_now if self.link else None
            slot, what = _slot_rate(trained, self.link, "its slot")
        except Unbounded:
            return self.rate, "port rate"
        return (self.rate, "port rate") if self.rate <= slot else (slot, what)


def _card(device: PciDevice) -> str:
    """Return the address without the function: ports of a card share its slot."""
    return device.address.rpartition(".")[0]


def _slot_rate(generation: int | None, link: PcieLink | None, what: str) -> Rate:
    if generation is None or link is None or link.width_now is None:
        raise Unbounded(f"the PCIe link of {what} is not known")
    name = f"pcie{generation}-x{link.width_now}"
    try:
        rate = link_hop(name, load()).span.high
    except RequestError as error:
        raise Unbounded(f"the catalogue has no {name}") from error
    return Rate(rate, f"{what}, {name}, {format_rate(rate, 'B/s')}")


def _gpu_rate(gpu: GpuFacts, dtype: str) -> Rate:
    row = find_gpu(gpu.model or "", load())
    if row is None:
        raise Unbounded(f"the catalogue has no row for {printable(gpu.model)}")
    try:
        peak = processor(row, dtype).best_peak
    except RequestError as error:
        raise Unbounded(str(error)) from error
    clocks = [p.clock_hz for p in row.peaks if p.dtype == dtype and p.dense]
    # Sheets rate a GPU at its boost clock; many may clock higher while power allows.
    faster = max(1.0, (gpu.sm_mhz_max or 0.0) * 1e6 / min(clocks))
    text = f"{format_rate(peak * faster, 'FLOP/s')} of {row.title}, datasheet"
    return Rate(peak * faster, text + (" at its highest clock" if faster > 1 else ""))
