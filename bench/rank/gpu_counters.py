"""Bytes that NVIDIA GPUs count by themselves, on PCIe and on NVLink, through NVML."""

import contextlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from bench.machine.nvml import Asker, nvlink_states

_PCIE = ("NVML_FI_DEV_PCIE_COUNT_TX_BYTES", "NVML_FI_DEV_PCIE_COUNT_RX_BYTES")
"""NVML's fields of what was sent and received since the driver was loaded (nvml.h)."""
_NVLINKS = (
    (1024, ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX", "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX")),
    (1, ("NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES", "NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES")),
)
"""Bytes of their unit, and the fields, of each link: the first up to Hopper, then Blackwell's."""


class GpuBytes(NamedTuple):
    """What one GPU has counted on one kind of link."""

    kind: Literal["pcie", "nvlink"]
    """PCIe with headers, NVLink payload alone but on Blackwell, summed over its active links."""
    gpu: int
    sent: int
    received: int


def read_gpu_bytes() -> list[GpuBytes]:
    """Return what the GPUs of this machine have counted; nothing without an NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return ask_gpu_bytes(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def ask_gpu_bytes(nvml: Any) -> list[GpuBytes]:
    """Return what an initialised NVML has counted; older drivers and GPUs count less."""
    ask = Asker(nvml)
    found: list[GpuBytes] = []
    for index in range(ask("nvmlDeviceGetCount") or 0):
        handle = ask("nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        pcie = _sum_fields(ask, handle, _PCIE, (0,))
        if pcie is not None:
            found.append(GpuBytes("pcie", index, *pcie))
        states = nvlink_states(nvml, handle) or []
        active = [link for link, is_active in enumerate(states) if is_active]
        for unit, fields in _NVLINKS:
            links = _sum_fields(ask, handle, fields, active)
            if links is not None:
                found.append(GpuBytes("nvlink", index, *(unit * each for each in links)))
                break
    return found


def _sum_fields(
    ask: Asker, handle: Any, names: tuple[str, str], links: Sequence[int]
) -> tuple[int, int] | None:
    """Return two fields summed over links; None where the GPU reports neither.

    Counters of 32 bits are left out: at 50 GB/s one is full after 86 ms and begins again.
    """
    values = ask.fields(handle, [(name, link) for link in links for name in names], wide=True)
    sent, received = ([int(v) for v in values[way::2] if v is not None] for way in (0, 1))
    return (sum(sent), sum(received)) if sent or received else None
