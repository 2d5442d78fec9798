"""Checks of GPUs and network cards: links that are narrow, slow or down, and modes that matter."""

from collections import defaultdict

from bench.core.errors import printable
from bench.core.records import About, Finding
from bench.machine.describe import format_count
from bench.machine.facts import NodeFacts
from bench.machine.gpu import GpuFacts, gpu_label
from bench.machine.interrupts import are_far, is_crowded
from bench.machine.parts import named_devices
from bench.machine.pci import PciDevice, describe_link

_Gpus = list[tuple[str, GpuFacts]]
"""Each with its name on the node, such as `gpu2`."""

_HARMLESS_REASONS = frozenset({"idle", "application clocks", "sync boost", "display clocks"})
"""An idle GPU clocks down, and the others are settings that someone chose."""


def check_gpu_software(facts: NodeFacts) -> list[Finding]:
    """Check that GPUs have a driver, and that Python can use them."""
    findings = []
    if facts.silent_gpus:
        named = ", ".join(printable(address) for address in facts.silent_gpus)
        findings.append(
            Finding(
                name="gpu-without-driver",
                level="warning",
                text=f"NVIDIA GPUs that no driver answers for: {named}; they are not measured",
                advice="`nvidia-smi` names the cause; in a container start it with `--gpus all`",
                value=len(facts.silent_gpus),
                unit="GPUs",
            )
        )
    if facts.gpus and not any(name.startswith("cupy") for name in facts.packages):
        findings.append(
            Finding(
                name="no-cupy",
                level="note",
                text=f"{format_count(len(facts.gpus), 'GPU')}, but CuPy is not installed: cases in "
                "device memory are skipped",
                advice=f"`pip install 'clusterbench[{_cupy_extra(facts.gpus)}]'`",
                about=_about(named_devices(facts, "gpus")),
            )
        )
    return findings


def _cupy_extra(gpus: tuple[GpuFacts, ...]) -> str:
    if all(gpu.vendor == "amd" for gpu in gpus):
        return "rocm7"
    # The driver of CUDA 13 runs CUDA 12 programs, never the reverse.
    newest = any((gpu.cuda or "").startswith("13.") for gpu in gpus)
    return "cuda13" if newest else "cuda12"


def check_gpu_links(facts: NodeFacts) -> list[Finding]:
    """Check that every GPU has all its PCIe lanes, and all the NVLinks that its peers have."""
    gpus: _Gpus = named_devices(facts, "gpus")
    findings = [
        Finding(
            name="gpu-link-width",
            level="warning",
            text=f"{_name_gpu(gpu)} is at {describe_link(gpu.pcie)}: copies between host and GPU "
            f"have {gpu.pcie.width_now} of {gpu.pcie.width_max} lanes",
            advice="reseat the card or the riser, and see whether the slot has the lanes; compare "
            "with a GPU in another slot",
            about=About(parts=(name,)),
            value=gpu.pcie.width_now,
            limit=gpu.pcie.width_max,
            unit="lanes",
        )
        for name, gpu in gpus
        if gpu.pcie and gpu.pcie.narrow
    ]
    slow = [(name, gpu) for name, gpu in gpus if gpu.pcie and gpu.pcie.slow]
    if slow:
        named = ", ".join(gpu_label(gpu) for _, gpu in slow)
        findings.append(
            Finding(
                name="gpu-link-speed",
                level="note",
                text=f"below the PCIe generation they can do: {named}; an idle GPU lowers it, so "
                "this tells nothing yet",
                advice="look again while the copy benchmark runs",
                about=_about(slow),
            )
        )
    return findings + _check_nvlinks(gpus)


def _check_nvlinks(gpus: _Gpus) -> list[Finding]:
    # Some products have fewer links than the chip by design: only the odd one out is a fault.
    most: dict[str | None, int] = defaultdict(int)
    for _, gpu in gpus:
        most[gpu.model] = max(most[gpu.model], gpu.nvlinks_active or 0)
    return [
        Finding(
            name="gpu-nvlink",
            level="warning",
            text=f"{_name_gpu(gpu)} has {gpu.nvlinks_active} active NVLinks, another of its model "
            f"here has {most[gpu.model]}: it holds back every collective",
            advice="`nvidia-smi nvlink --status` and `--errorcounters`; then reset the GPU or have "
            "the board looked at",
            about=About(parts=(name,)),
            value=gpu.nvlinks_active,
            limit=most[gpu.model],
            unit="links",
        )
        for name, gpu in gpus
        if gpu.nvlinks_active is not None and gpu.nvlinks_active < most[gpu.model]
    ]


def check_gpu_state(facts: NodeFacts) -> list[Finding]:
    """Check what holds GPUs back now, and the modes that change what they can do."""
    findings = []
    gpus: _Gpus = named_devices(facts, "gpus")
    for name, gpu in gpus:
        reasons = [reason for reason in gpu.throttle or () if reason not in _HARMLESS_REASONS]
        if reasons:
            # A card at its power limit is at work; heat and hardware limits are faults.
            only_power = reasons == ["power cap"]
            findings.append(
                Finding(
                    name="gpu-throttled",
                    level="note" if only_power else "warning",
                    text=f"{_name_gpu(gpu)} is held back now by {printable(', '.join(reasons))}: "
                    "rates depend on it",
                    advice="`nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE`; see who uses it, and "
                    "check cooling and power supply",
                    about=About(parts=(name,)),
                    value=printable(", ".join(reasons)),
                )
            )
    return findings + _check_gpu_modes(gpus)


def _check_gpu_modes(gpus: _Gpus) -> list[Finding]:
    no_ecc = [(name, gpu) for name, gpu in gpus if gpu.ecc is False]
    mig = [(name, gpu) for name, gpu in gpus if gpu.mig]
    findings = []
    if no_ecc:
        findings.append(
            Finding(
                name="gpu-ecc",
                level="note",
                text=f"ECC is off: {_labels(no_ecc)}; a flipped bit goes unnoticed, and memory "
                "may be faster than with it",
                advice="compare only with GPUs in the same mode; `nvidia-smi -e 1` turns it on",
                about=_about(no_ecc),
            )
        )
    if mig:
        findings.append(
            Finding(
                name="gpu-mig",
                level="note",
                text=f"MIG is on: {_labels(mig)}; a part of a GPU is measured, not the GPU",
                advice="`nvidia-smi -mig 0` for the whole GPU",
                about=_about(mig),
            )
        )
    return findings


def _about(gpus: _Gpus) -> About:
    return About(parts=tuple(name for name, _ in gpus))


def _labels(gpus: _Gpus) -> str:
    return ", ".join(gpu_label(gpu) for _, gpu in gpus)


def check_nics(facts: NodeFacts) -> list[Finding]:
    """Check that network cards have the PCIe lanes and the generation that they can use."""
    # A port is often seen twice, as an interface and as an RDMA device of one PCI address.
    devices: dict[str, tuple[str, PciDevice]] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for name, found in (*named_devices(facts, "nics"), *named_devices(facts, "rdma")):
        if found.pci is not None:
            devices[found.pci.address] = name, found.pci
            names[found.pci.address].append(printable(found.name))
    return [
        Finding(
            name="nic-link",
            level="warning",
            text=f"NIC {' / '.join(names[address])} at {address} is at {describe_link(device.link)}"
            ": the port may carry more than its slot",
            advice="see whether the slot gives the card its lanes and generation; if it should, "
            "reseat the card or the riser",
            about=About(parts=(name,)),
            value=device.link.width_now if device.link.narrow else device.link.generation_now,
            limit=device.link.width_max if device.link.narrow else device.link.generation_max,
            unit="lanes" if device.link.narrow else "PCIe generation",
        )
        for address, (name, device) in devices.items()
        if device.link and (device.link.narrow or device.link.slow)
    ]


def check_interrupts(facts: NodeFacts) -> list[Finding]:
    """Check that the queues of network cards are served near the card, and by several CPUs."""
    findings = []
    for name, nic in named_devices(facts, "nics"):
        own = nic.pci.numa_node if nic.pci else None
        cpus = printable(nic.interrupt_cpus)
        if are_far(nic.interrupt_cpus, own, facts.numa):
            text = f"served by CPUs {cpus}, none of them on its own NUMA node, NUMA {own}"
        elif is_crowded(nic.interrupt_cpus, facts.cpu.logical):
            text = f"all served by CPU {cpus}, which then limits what the card receives"
        else:
            continue
        findings.append(
            Finding(
                name="nic-interrupts",
                level="note",
                text=f"interrupts of NIC {printable(nic.name)} are {text}",
                advice="spread them over the CPUs of its NUMA node: irqbalance, the vendor's "
                "set_irq_affinity, or /proc/irq/*/smp_affinity_list",
                about=About(parts=(name,)),
            )
        )
    return findings


def check_rdma_ports(facts: NodeFacts) -> list[Finding]:
    """Check that every port of every RDMA device carries traffic."""
    return [
        Finding(
            name="rdma-port",
            level="warning",
            text=f"port {port.port} of {printable(device.name)} is {printable(port.state)}, not "
            "ACTIVE: MPI and NCCL leave it out, or fail on it",
            advice="check cable, switch port and subnet manager: `ibstat`, `rdma link`",
            about=About(parts=(name,)),
            value=printable(port.state),
            limit="ACTIVE",
        )
        for name, device in named_devices(facts, "rdma")
        for port in device.ports
        if port.state not in (None, "ACTIVE")
    ]


def _name_gpu(gpu: GpuFacts) -> str:
    address = f" at {gpu.pci_address}" if gpu.pci_address else ""
    return f"{gpu_label(gpu)} ({printable(gpu.model or 'model unknown')}{address})"
