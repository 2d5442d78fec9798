"""Bytes that NVIDIA GPUs count by themselves, on PCIe and on NVLink, through NVML."""

import contextlib
from typing import Any, Literal, NamedTuple

_PCIE = ("NVML_FI_DEV_PCIE_COUNT_TX_BYTES", "NVML_FI_DEV_PCIE_COUNT_RX_BYTES")
_NVLINK = ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX", "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX")
"""NVML's fields of what was sent and received since the driver was loaded (nvml.h)."""
_NVLINK_UNIT = 1024


class GpuBytes(NamedTuple):
    """What one GPU has counted on one kind of link."""

    kind: Literal["pcie", "nvlink"]
    """PCIe with headers, NVLink payload alone, summed over its links."""
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
    found: list[GpuBytes] = []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return found
    for index in range(count):
        pcie = _sum_fields(nvml, index, _PCIE, 1)
        links = _sum_fields(nvml, index, _NVLINK, nvml.NVML_NVLINK_MAX_LINKS)
        if pcie is not None:
            found.append(GpuBytes("pcie", index, *pcie))
        if links is not None:
            found.append(GpuBytes("nvlink", index, *(_NVLINK_UNIT * each for each in links)))
    return found


def _sum_fields(
    nvml: Any, index: int, names: tuple[str, str], links: int
) -> tuple[int, int] | None:
    """Return two fields summed over links; None where the GPU reports neither."""
    fields = [getattr(nvml, name, None) for name in names]
    if None in fields:
        return None
    asked = [(field, link) for link in range(links) for field in fields]
    try:
        answers = nvml.nvmlDeviceGetFieldValues(nvml.nvmlDeviceGetHandleByIndex(index), asked)
    except nvml.NVMLError:
        return None
    # Each answer has a status of its own: a link that the GPU does not have is an error.
    sums, known = [0, 0], False
    for place, answer in enumerate(answers):
        if answer.nvmlReturn == nvml.NVML_SUCCESS:
            sums[place % 2] += answer.value.ullVal
            known = True
    return (sums[0], sums[1]) if known else None
