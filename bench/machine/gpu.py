"""Facts of GPUs: NVIDIA's through NVML, AMD's from sysfs."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.core.units import format_rate
from bench.machine.compared import COMPARED, Compared
from bench.machine.describe import Rows, format_memory, show
from bench.machine.memory import SIZE
from bench.machine.near_gpu import sysfs_address
from bench.machine.nvml import Asker, nvlink_states
from bench.machine.pci import PciDevice, PcieLink, describe_link, read_pci_device
from bench.machine.sysfs import list_folder, list_numbered, read_natural, read_word

_PCI = "sys/bus/pci/devices"

THROTTLE_REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""Bits of NVML's clocks event reasons (nvmlClocksThrottleReason* of nvidia-ml-py 13.615)."""
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
"""The question, and as drivers before 535 know it; the latter goes with CUDA 14 (nvidia-ml-py)."""


def _lasting_link(link: PcieLink | None, _node: Any) -> PcieLink | None:
    """Return a link without its speed now: an idle GPU trains it down and up again by itself.

    A slow link is seen in its lanes, which stay, and in the best speed that its slot allows.
    """
    return link and msgspec.structs.replace(link, generation_now=None)


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU. `*_now` and `throttle` change from second to second, the rest does not."""

    vendor: str
    index: int
    """Place among the GPUs of its vendor, as the driver counts."""
    model: Annotated[str | None, COMPARED] = None
    uuid: str | None = None
    pci_address: str | None = None
    pcie: Annotated[PcieLink | None, Compared(view=_lasting_link)] = None
    numa_node: Annotated[int | None, COMPARED] = None
    memory: Annotated[int | None, SIZE] = None
    """Bytes of device memory."""
    nvlinks: Annotated[int | None, COMPARED] = None
    """NVLink links that the GPU has; 0 where it has none, None where that is not known."""
    nvlinks_active: Annotated[int | None, COMPARED] = None
    sm_mhz_now: int | None = None
    sm_mhz_max: Annotated[int | None, COMPARED] = None
    memory_mhz_now: int | None = None
    memory_mhz_max: Annotated[int | None, COMPARED] = None
    power_limit_watts: Annotated[float | None, Compared(within=1.0, text="{:.0f} W".format)] = None
    """What the driver holds it to, by whoever has set the least."""
    throttle: tuple[str, ...] | None = None
    """Why clocks are held down now, in the words of `THROTTLE_REASONS`; None where unknown."""
    ecc: Annotated[bool | None, COMPARED] = None
    mig: Annotated[bool | None, COMPARED] = None
    driver: Annotated[str | None, COMPARED] = None
    cuda: Annotated[str | None, COMPARED] = None
    """Newest CUDA version that the driver can run."""

    @property
    def slot(self) -> str:
        """Where it sits: its PCI address, or its place in the driver's order."""
        return self.pci_address or str(self.index)


def read_gpus(root: Path) -> tuple[GpuFacts, ...]:
    """Return the GPUs below `root`; NVML answers for this machine alone, so only for its root."""
    nvidia = find_nvidia_gpus(root) if root == Path("/") else ()
    return (*nvidia, *read_amd_gpus(root))


def find_nvidia_gpus(root: Path) -> tuple[GpuFacts, ...]:
    """Return the facts that NVML has of every NVIDIA GPU; none where there is no driver."""
    import pynvml  # lazily: what prints a plan imports this module too, and asks no GPU

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return read_nvidia_gpus(pynvml, root)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def is_exclusive(pci_address: str) -> bool:
    """Return whether a GPU's compute mode lets one process alone open it."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(pci_address)
        mode = pynvml.nvmlDeviceGetComputeMode(handle)
    except pynvml.NVMLError:
        return False
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return bool(mode == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)


def read_nvidia_gpus(nvml: Any, root: Path) -> tuple[GpuFacts, ...]:
    """Return the facts that an initialised NVML has of every GPU."""
    ask = Asker(nvml)
    return tuple(
        _read_nvidia_gpu(nvml, ask, index, handle, root)
        for index in range(ask("nvmlDeviceGetCount") or 0)
        if (handle := ask("nvmlDeviceGetHandleByIndex", index)) is not None
    )


def read_amd_gpus(root: Path) -> tuple[GpuFacts, ...]:
    """Return the GPUs that the amdgpu driver shows in sysfs, ordered by PCI address."""
    found: dict[str, tuple[PciDevice, Path]] = {}
    for _, card in list_numbered(root / "sys/class/drm", "card"):
        folder = card / "device"
        device = read_pci_device(root, folder) if _is_vendor(folder, "0x1002") else None
        if device is not None:
            found[device.address] = (device, folder)
    version = read_word(root / "sys/module/amdgpu/version")
    return tuple(
        GpuFacts(
            vendor="amd",
            index=index,
            model=read_word(folder / "product_name") or device.name,
            uuid=read_word(folder / "unique_id"),
            pci_address=address,
            pcie=device.link,
            numa_node=device.numa_node,
            memory=read_natural(folder / "mem_info_vram_total"),
            driver=version,
        )
        for index, (address, (device, folder)) in enumerate(sorted(found.items()))
    )


def find_silent_gpus(root: Path, gpus: tuple[GpuFacts, ...]) -> tuple[str, ...]:
    """Return PCI addresses of NVIDIA GPUs on the bus that no driver answers for."""
    known = {gpu.pci_address for gpu in gpus}
    return tuple(
        folder.name
        for folder in list_folder(root / _PCI)
        if _is_vendor(folder, "0x10de")
        # Class 03 is display and 3D controllers; a card's sound and USB functions are others.
        and (read_word(folder / "class") or "").startswith("0x03")
        and folder.name not in known
    )


def gpu_rows(gpus: tuple[GpuFacts, ...], silent: tuple[str, ...]) -> Rows:
    """Return the facts of GPUs for a person."""
    rows = [(gpu_label(gpu), _describe_gpu(gpu)) for gpu in gpus]
    rows += [(f"PCI {show(address)}", "NVIDIA GPU without a driver") for address in silent]
    return rows or [("GPUs", "none")]


def gpu_label(gpu: GpuFacts) -> str:
    """Return what to call a GPU, such as `nvidia GPU 0`."""
    return f"{show(gpu.vendor)} GPU {gpu.index}"


def _describe_gpu(gpu: GpuFacts) -> str:
    parts = [
        show(gpu.model),
        format_memory(gpu.memory),
        describe_link(gpu.pcie),
        f"NUMA {show(gpu.numa_node)}",
        f"at {show(gpu.pci_address)}",
        f"driver {show(gpu.driver)}",
    ]
    if gpu.nvlinks is not None:
        parts.append(f"NVLink {show(gpu.nvlinks_active)} of {gpu.nvlinks}")
    if gpu.sm_mhz_max is not None:
        parts.append(f"SM at most {format_rate(gpu.sm_mhz_max * 1e6, 'Hz')}")
    if gpu.power_limit_watts is not None:
        parts.append(f"power limit {gpu.power_limit_watts:.0f} W")
    parts += [f"{name} {'on' if on else 'off'}" for name, on in _modes(gpu) if on is not None]
    return ", ".join(parts)


def _modes(gpu: GpuFacts) -> tuple[tuple[str, bool | None], ...]:
    return (("ECC", gpu.ecc), ("MIG", gpu.mig))


def _is_vendor(folder: Path, vendor: str) -> bool:
    return read_word(folder / "vendor") == vendor


def _read_nvidia_gpu(nvml: Any, ask: Asker, index: int, handle: Any, root: Path) -> GpuFacts:
    address = _read_address(ask("nvmlDeviceGetPciInfo", handle))
    device = read_pci_device(root, root / _PCI / address) if address else None
    memory = ask("nvmlDeviceGetMemoryInfo", handle)
    links = nvlink_states(nvml, handle)
    limit = ask("nvmlDeviceGetEnforcedPowerLimit", handle)
    cuda = ask("nvmlSystemGetCudaDriverVersion_v2")
    return GpuFacts(
        vendor="nvidia",
        index=index,
        model=ask("nvmlDeviceGetName", handle),
        uuid=ask("nvmlDeviceGetUUID", handle),
        pci_address=address,
        pcie=_read_nvidia_link(ask, handle, device),
        numa_node=device.numa_node if device else None,
        memory=memory.total if memory else None,
        nvlinks=None if links is None else len(links),
        nvlinks_active=None if links is None else sum(links),
        sm_mhz_now=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        sm_mhz_max=ask("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
        memory_mhz_now=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
        memory_mhz_max=ask("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_MEM),
        power_limit_watts=None if limit is None else limit / 1000,
        throttle=ask_reasons(ask, handle),
        ecc=_current_mode(ask("nvmlDeviceGetEccMode", handle)),
        mig=_current_mode(ask("nvmlDeviceGetMigMode", handle)),
        driver=ask("nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
    )


def _read_nvidia_link(ask: Asker, handle: Any, device: PciDevice | None) -> PcieLink | None:
    # NVML's most is that of the GPU in this slot; sysfs has that of the GPU itself, which is what
    # shows that a x16 card sits on x8. NVML's own is the fallback where sysfs is hidden.
    own = (device.link if device else None) or PcieLink()
    link = PcieLink(
        generation_now=ask("nvmlDeviceGetCurrPcieLinkGeneration", handle),
        width_now=ask("nvmlDeviceGetCurrPcieLinkWidth", handle),
        generation_max=own.generation_max or ask("nvmlDeviceGetMaxPcieLinkGeneration", handle),
        width_max=own.width_max or ask("nvmlDeviceGetMaxPcieLinkWidth", handle),
    )
    return None if link == PcieLink() else link


def _read_address(info: Any) -> str | None:
    text = info.busId if info is not None else ""
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return sysfs_address(text)


def ask_reasons(ask: Asker, handle: Any) -> tuple[str, ...] | None:
    """Return why the clocks of a GPU are held down now; None where NVML does not say."""
    answers = (ask(question, handle) for question in _REASONS)
    return name_reasons(next((bits for bits in answers if bits is not None), None))


def name_reasons(bits: int | None) -> tuple[str, ...] | None:
    """Return why clocks are held down, in the words of `THROTTLE_REASONS`; None where unknown."""
    if bits is None:
        return None
    known = [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    other = bits & ~sum(THROTTLE_REASONS)
    return tuple(known + ([f"reason {other:#x}"] if other else []))


def _current_mode(answer: Any) -> bool | None:
    """Return the current half of NVML's (current, pending) pair."""
    return None if answer is None else bool(answer[0])
