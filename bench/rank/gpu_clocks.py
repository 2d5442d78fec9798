"""Clock, power and what holds clocks down on one NVIDIA GPU, just before and after it was measured.

Nothing is asked while it is measured. Driver counters of the time in which power or heat held the
clocks down show what happened between the two readings.
"""

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from bench.core.records import Axis
from bench.machine.gpu import ask_reasons
from bench.machine.nvml import Asker

NOTHING = "none"
"""The value of `throttle` where nothing held the clocks down."""
_IDLE = "idle"
_PASSING = "hardware-slowdown"
"""May be told while a clock changes (nvml.h): only what still holds at the end held clocks down."""
_POWER_NOW = "NVML_FI_DEV_POWER_INSTANT"
_HELD = {
    "power-cap": "NVML_FI_DEV_PERF_POLICY_POWER",
    "thermal": "NVML_FI_DEV_PERF_POLICY_THERMAL",
}
"""Counters of time as fields, for when the deprecated question about them is gone (CUDA 14)."""


class ClockReading(NamedTuple):
    """What a GPU reports of itself at one moment; None where it does not."""

    sm_clock_mhz: int | None
    power_watts: float | None
    """Now; of drivers that know only the mean, since Ampere that of the last second (nvml.h)."""
    throttle: tuple[str, ...] | None
    held_ns: dict[str, int]
    """Since the driver was loaded, by reason; reasons are missing where unknown."""


class ClockWatch:
    """Reads a GPU when it is opened and when it is closed.

    Args:
        pci_address: as the CUDA runtime spells it; NVML takes that spelling.
    """

    def __init__(self, pci_address: str) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._before: ClockReading | None = None
        with contextlib.suppress(pynvml.NVMLError):  # no NVIDIA driver, or none of its GPUs
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByPciBusId(pci_address)
            self._before = read_clocks(pynvml, self._handle)

    def close(self) -> "GpuLoad | None":
        """Return what was read; None where NVML does not know this GPU."""
        if self._before is None:
            return None
        load = compare_readings(self._before, read_clocks(self._nvml, self._handle))
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()
        return load


class GpuLoad(NamedTuple):
    """A GPU around the samples of a case."""

    sm_clock_before_mhz: int | None
    sm_clock_mhz: int | None
    """Right after the last sample."""
    power_watts: float | None
    throttle: tuple[str, ...] | None
    """What held clocks down, in words without spaces; empty where nothing did."""


def read_clocks(nvml: Any, handle: Any) -> ClockReading:
    """Return what an initialised NVML reports of one GPU."""
    ask = Asker(nvml)
    # First what is gone soonest when a GPU has nothing left to do.
    reasons = ask_reasons(ask, handle)
    clock = ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM)
    now, *held = ask.fields(handle, [(name, 0) for name in (_POWER_NOW, *_HELD.values())])
    milliwatts = ask("nvmlDeviceGetPowerUsage", handle) if now is None else now
    policies = (nvml.NVML_PERF_POLICY_POWER, nvml.NVML_PERF_POLICY_THERMAL)
    statuses = [ask("nvmlDeviceGetViolationStatus", handle, policy) for policy in policies]
    held_ns = {
        name: field if status is None else status.violationTime
        for name, status, field in zip(_HELD, statuses, held, strict=True)
    }
    return ClockReading(
        sm_clock_mhz=clock,
        power_watts=None if milliwatts is None else milliwatts / 1000,
        throttle=None if reasons is None else tuple(r.replace(" ", "-") for r in reasons),
        held_ns={name: int(each) for name, each in held_ns.items() if each is not None},
    )


def compare_readings(before: ClockReading, after: ClockReading) -> GpuLoad:
    """Return the load between two readings: reasons seen at either end, or counted between."""
    first = [name for name in before.throttle or () if name != _PASSING]
    seen = [name for name in (*first, *(after.throttle or ())) if name != _IDLE]
    seen += [name for name, held in after.held_ns.items() if held > before.held_ns.get(name, held)]
    unknown = before.throttle is None and after.throttle is None and not after.held_ns
    return GpuLoad(
        sm_clock_before_mhz=before.sm_clock_mhz,
        sm_clock_mhz=after.sm_clock_mhz,
        power_watts=after.power_watts,
        throttle=None if unknown else tuple(dict.fromkeys(seen)),
    )


def load_params(loads: Iterable[GpuLoad]) -> dict[str, Axis]:
    """Return the facts of a row about its GPUs: lowest clock, most power, every reason."""
    all_loads = tuple(loads)
    before = [each.sm_clock_before_mhz for each in all_loads if each.sm_clock_before_mhz]
    clocks = [each.sm_clock_mhz for each in all_loads if each.sm_clock_mhz]
    powers = [each.power_watts for each in all_loads if each.power_watts is not None]
    reasons = [each.throttle for each in all_loads if each.throttle is not None]
    params: dict[str, Axis] = {}
    if before:
        params["sm_clock_before_mhz"] = min(before)
    if clocks:
        params["sm_clock_mhz"] = min(clocks)
    if powers:
        params["power_watts"] = round(max(powers))
    if reasons:
        words = dict.fromkeys(word for each in reasons for word in each)
        params["throttle"] = "+".join(words) or NOTHING
    return params
