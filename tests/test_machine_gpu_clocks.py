"""What NVML says of a GPU around the samples of a case, and what a row makes of it."""

import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pynvml
import pytest
from meeting import Meeting
from simulated_cuda import simulate
from test_machine_gpu import GONE, Nvml
from test_measure import make_case

from bench.contracts import NamesGpus
from bench.core.records import COLUMNS, Row, Sampling, Status
from bench.judge.findings import THROTTLED, row_findings
from bench.measure import MEASUREMENTS
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.gpu_clocks import (
    ClockReading,
    GpuLoad,
    compare_readings,
    load_params,
    read_clocks,
)
from bench.rank.world import SoloWorld

NOTHING_TOLD = ClockReading(None, None, None, {})


def held(power_ns: int, thermal_ns: int = 0) -> Any:
    """Return an answer about the time in which power and heat held the clocks down."""
    return lambda _gpu, policy: SimpleNamespace(
        violationTime=power_ns if policy == pynvml.NVML_PERF_POLICY_POWER else thermal_ns
    )


def test_a_reading_has_clock_watts_and_reasons() -> None:
    nvml = Nvml(
        nvmlDeviceGetPowerUsage=652_400,
        nvmlDeviceGetCurrentClocksEventReasons=0x44,
        nvmlDeviceGetViolationStatus=held(5, 7),
    )
    assert read_clocks(nvml, 0) == ClockReading(
        345, 652.4, ("power-cap", "hardware-thermal-slowdown"), {"power-cap": 5, "thermal": 7}
    )


def test_power_is_that_of_now_and_not_the_mean_of_a_second() -> None:
    """After half a second of load half of that mean would be idle."""

    def values(_gpu: int, fields: list[tuple[int, int]]) -> Any:
        answers = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for answer, (field, _) in zip(answers, fields, strict=True):
            known = field == pynvml.NVML_FI_DEV_POWER_INSTANT
            answer.nvmlReturn = 0 if known else pynvml.NVML_ERROR_NOT_SUPPORTED
            answer.valueType, answer.value.uiVal = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, 651_200
        return answers

    nvml = Nvml(nvmlDeviceGetPowerUsage=340_000, nvmlDeviceGetFieldValues=values)
    assert read_clocks(nvml, 0).power_watts == 651.2
    assert read_clocks(Nvml(nvmlDeviceGetPowerUsage=340_000), 0).power_watts == 340


def test_a_library_without_the_deprecated_questions_is_asked_the_new_ones() -> None:
    def values(_gpu: int, fields: list[tuple[int, int]]) -> Any:
        answers = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for answer, (field, _) in zip(answers, fields, strict=True):
            answer.valueType, answer.value.ullVal = 3, field
        return answers

    nvml = Nvml(
        nvmlDeviceGetCurrentClocksThrottleReasons=GONE,
        nvmlDeviceGetViolationStatus=GONE,
        nvmlDeviceGetPowerUsage=GONE,
        nvmlDeviceGetCurrentClocksEventReasons=0x4,
        nvmlDeviceGetFieldValues=values,
    )
    reading = read_clocks(nvml, 0)
    assert reading.throttle == ("power-cap",)
    assert reading.held_ns == {"power-cap": 74, "thermal": 75}


def test_an_older_driver_is_asked_by_the_older_name() -> None:
    nvml = Nvml(
        nvmlDeviceGetCurrentClocksEventReasons=pynvml.NVMLError_FunctionNotFound(),
        nvmlDeviceGetCurrentClocksThrottleReasons=0x40,
    )
    assert read_clocks(nvml, 0).throttle == ("hardware-thermal-slowdown",)


def test_what_nvml_refuses_is_missing_from_the_row() -> None:
    refused = pynvml.NVMLError_NotSupported()
    reading = read_clocks(
        Nvml(
            nvmlDeviceGetPowerUsage=refused,
            nvmlDeviceGetCurrentClocksEventReasons=refused,
            nvmlDeviceGetCurrentClocksThrottleReasons=refused,
            nvmlDeviceGetViolationStatus=refused,
            nvmlDeviceGetClockInfo=refused,
        ),
        0,
    )
    assert reading == NOTHING_TOLD
    load = compare_readings(reading, reading)
    assert load.throttle is None
    assert load_params([load]) == {}


@pytest.mark.parametrize(
    ("before", "after", "counted", "expected"),
    [
        (0x1, 0x0, (9, 9), ()),  # a GPU that idled before is held down by nothing
        (0x1, 0x4, (9, 9), ("power-cap",)),
        (0x4, 0x4, (9, 9), ("power-cap",)),
        # Neither reading saw it, and the counter did.
        (0x1, 0x1, (9, 12), ("power-cap",)),
        (0x0, 0x8, (9, 12), ("hardware-slowdown", "power-cap")),
        # NVML tells of it while clocks change, as they do when work begins.
        (0x9, 0x0, (9, 9), ()),
        (0x8, 0x8, (9, 9), ("hardware-slowdown",)),
        (0x0, 0x600, (9, 9), ("board-limit", "reliability")),
    ],
)
def test_reasons_are_those_seen_at_either_end_or_counted_between(
    before: int, after: int, counted: tuple[int, int], expected: tuple[str, ...]
) -> None:
    readings = [
        read_clocks(
            Nvml(
                nvmlDeviceGetCurrentClocksEventReasons=bits,
                nvmlDeviceGetViolationStatus=held(count),
            ),
            0,
        )
        for bits, count in zip((before, after), counted, strict=True)
    ]
    load = compare_readings(readings[0], readings[1])
    assert load.throttle == expected
    assert load_params([load])["throttle"] == ("+".join(expected) or "none")


def test_a_row_of_several_gpus_has_the_lowest_clock_and_every_reason() -> None:
    loads = [
        GpuLoad(1980, 1755, 690.4, ("power-cap",)),
        GpuLoad(345, 1980, 310.0, ()),
        GpuLoad(None, None, None, None),
        GpuLoad(1980, 1980, None, ("thermal", "power-cap")),
    ]
    assert load_params(loads) == {
        "sm_clock_before_mhz": 345,
        "sm_clock_mhz": 1755,
        "power_watts": 690,
        "throttle": "power-cap+thermal",
    }


def row(params: str | None) -> Row:
    return Row(**{**dict.fromkeys(COLUMNS), "case": "matmul/x", "params": params})


def test_a_finding_counts_the_rows_that_were_held_down() -> None:
    rows = [
        row("throttle=none"),
        row("sm_clock_mhz=1410;throttle=power-cap+application-clocks"),
        row("throttle=thermal"),
        row("throttle=application-clocks"),
        row(None),
    ]
    (finding,) = [f for f in row_findings(rows) if f.name == THROTTLED]
    assert finding.text.startswith("2 rows were measured")
    assert "power-cap, thermal (" in finding.text
    assert not [f for f in row_findings(rows[3:]) if f.name == THROTTLED]


def test_a_row_without_a_gpu_says_nothing_of_clocks() -> None:
    context = open_context(SoloWorld(), 1)
    case = make_case("copy", bytes=4096, memory="host", dst_memory="standin")
    *_, ended = execute_case(case, Sampling(cap_s=0.02), SoloWorld(), context)
    assert not {"sm_clock_mhz", "power_watts", "throttle"} & set(ended.params)


class LiveNvml(Nvml):
    """NVML that is asked from within a case."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[str] = []
        super().__init__(
            nvmlInit=None,
            nvmlShutdown=None,
            nvmlDeviceGetHandleByPciBusId=lambda address: self.asked.append(address) or 0,
            nvmlDeviceGetClockInfo=lambda *_: 1980,
            **answers,
        )


def test_a_case_on_a_gpu_asks_nvml_for_the_gpu_of_the_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulate(monkeypatch, gpus=2)
    nvml = LiveNvml(nvmlDeviceGetCurrentClocksEventReasons=0x4)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    context = open_context(SoloWorld(), 1)
    case = make_case("copy", bytes=4096)
    *_, ended = execute_case(case, Sampling(cap_s=0.02), SoloWorld(), context)
    assert ended.status is Status.OK
    assert nvml.asked == ["0000:00:00.0"]
    assert ended.params["sm_clock_mhz"] == 1980
    assert ended.params["power_watts"] == 69
    assert ended.params["throttle"] == "power-cap"


def test_copies_between_other_gpus_tell_the_clocks_of_those(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulate(monkeypatch, gpus=4)
    nvml = LiveNvml(nvmlDeviceGetCurrentClocksEventReasons=0x0)
    busy = {"0000:02:00.0", "0000:03:00.0"}
    nvml.nvmlDeviceGetHandleByPciBusId = lambda address: nvml.asked.append(address) or address
    nvml.nvmlDeviceGetClockInfo = lambda address, _: 1980 if address in busy else 345
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    context = open_context(SoloWorld(), 1)
    case = make_case("peer_copy", bytes=4096, gpus=4)
    case = msgspec.structs.replace(case, axes={**case.axes, "src_gpu": 3, "dst_gpu": 2})
    *_, ended = execute_case(case, Sampling(cap_s=0.02), SoloWorld(), context)
    assert ended.status is Status.OK
    assert nvml.asked == sorted(busy)
    assert ended.params["sm_clock_mhz"] == 1980


def test_a_rank_that_sends_from_its_host_tells_nothing_of_its_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulate(monkeypatch, gpus=2)
    context = open_context(SoloWorld(), 1)
    case = make_case("latency", memory="device", dst_memory="host", ranks=2)
    # An earlier case has opened it.
    assert context.memories["device"].name == "device"
    meeting = Meeting(2)
    first, last = meeting.prepare(MEASUREMENTS["latency"], case, context)
    assert isinstance(first, NamesGpus)
    assert isinstance(last, NamesGpus)
    assert (first.gpus, last.gpus) == (("0000:00:00.0",), ())


@pytest.mark.gpu
def test_a_gpu_that_multiplies_tells_its_clock_and_power() -> None:
    context = open_context(SoloWorld(), 1)
    case = make_case("matmul", batch=2048, k=2048, n=2048, memory="device")
    if (reason := context.memories.lacks("device")) is not None:
        pytest.skip(reason)
    *_, ended = execute_case(case, Sampling(cap_s=0.5), SoloWorld(), context)
    if ended.status is Status.SKIPPED:
        pytest.skip(ended.reason)
    assert ended.status is Status.OK
    assert int(ended.params["sm_clock_mhz"]) > 0
    assert int(ended.params["power_watts"]) > 0
    assert ended.params["throttle"]
