"""GPUs: NVML's answers, its refusals, and the links that sysfs shows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from trees import Tree, gpu_address, gpu_node, pci_files, write_tree

from bench.machine.facts import gather_facts
from bench.machine.gpu import find_nvidia_gpus, read_nvidia_gpus
from bench.machine.pci import PcieLink

GIB = 2**30
GONE = object()
"""The answer to a question that this version of the library no longer has."""


class Nvml:
    """Stands in for NVML on machines without an NVIDIA GPU: eight H100, their answers settable.

    A question whose answer is an exception raises it. The names are those of `pynvml`, so that one
    that it does not have fails here.
    """

    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_InvalidArgument = pynvml.NVMLError_InvalidArgument
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_FEATURE_ENABLED = pynvml.NVML_FEATURE_ENABLED
    NVML_NVLINK_MAX_LINKS = pynvml.NVML_NVLINK_MAX_LINKS
    NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    NVML_SUCCESS = pynvml.NVML_SUCCESS
    NVML_FI_DEV_POWER_INSTANT = pynvml.NVML_FI_DEV_POWER_INSTANT
    NVML_FI_DEV_PERF_POLICY_POWER = pynvml.NVML_FI_DEV_PERF_POLICY_POWER
    NVML_FI_DEV_PERF_POLICY_THERMAL = pynvml.NVML_FI_DEV_PERF_POLICY_THERMAL
    NVML_FI_DEV_PCIE_COUNT_TX_BYTES = pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES
    NVML_FI_DEV_PCIE_COUNT_RX_BYTES = pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES
    NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX = pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX
    NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX = pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX
    NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES = pynvml.NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES
    NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES = pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES
    NVML_PERF_POLICY_POWER = pynvml.NVML_PERF_POLICY_POWER
    NVML_PERF_POLICY_THERMAL = pynvml.NVML_PERF_POLICY_THERMAL

    def __init__(self, **answers: Any) -> None:
        self._answers = {
            "nvmlDeviceGetCount": 8,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}",
            "nvmlDeviceGetPciInfo": lambda gpu: SimpleNamespace(
                busId=f"0000{gpu_address(gpu)}".upper()
            ),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GIB),
            "nvmlDeviceGetCurrPcieLinkGeneration": 5,
            "nvmlDeviceGetCurrPcieLinkWidth": 16,
            "nvmlDeviceGetMaxPcieLinkGeneration": 5,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            "nvmlDeviceGetNvLinkState": self._link_state,
            "nvmlDeviceGetClockInfo": lambda _gpu, clock: (
                345 if clock == self.NVML_CLOCK_SM else 2619
            ),
            "nvmlDeviceGetMaxClockInfo": lambda _gpu, clock: (
                1980 if clock == self.NVML_CLOCK_SM else 2619
            ),
            "nvmlDeviceGetCurrentClocksEventReasons": 0x1,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1,
            "nvmlDeviceGetFieldValues": pynvml.NVMLError_NotSupported(),
            "nvmlDeviceGetPowerUsage": 69_420,
            "nvmlDeviceGetEnforcedPowerLimit": 650_000,
            "nvmlDeviceGetViolationStatus": SimpleNamespace(violationTime=0),
            "nvmlDeviceGetEccMode": [1, 1],
            "nvmlDeviceGetMigMode": [0, 1],
            "nvmlSystemGetDriverVersion": "580.65.06",
            "nvmlSystemGetCudaDriverVersion_v2": 13010,
            **answers,
        }

    def __getattr__(self, name: str) -> Any:
        assert hasattr(pynvml, name), f"pynvml has no {name}"
        if self._answers.get(name) is GONE:
            raise AttributeError(name)

        def ask(*args: Any) -> Any:
            answer = self._answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer(*args) if callable(answer) else answer

        return ask

    def _link_state(self, _gpu: int, link: int) -> int:
        if link >= 18:
            raise pynvml.NVMLError_InvalidArgument()
        return 1


def test_nvml_and_sysfs_together_describe_a_gpu(tmp_path: Path) -> None:
    root = write_tree(tmp_path, gpu_node(vendor="10de"))
    gpus = read_nvidia_gpus(Nvml(), root)
    assert [gpu.pci_address for gpu in gpus] == [gpu_address(slot) for slot in range(8)]
    assert [gpu.numa_node for gpu in gpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    gpu = gpus[7]
    assert (gpu.index, gpu.model, gpu.uuid) == (7, "NVIDIA H100 80GB HBM3", "GPU-7")
    assert gpu.memory == 80 * GIB
    assert (gpu.nvlinks, gpu.nvlinks_active) == (18, 18)
    assert (gpu.sm_mhz_now, gpu.sm_mhz_max) == (345, 1980)
    assert (gpu.memory_mhz_now, gpu.memory_mhz_max) == (2619, 2619)
    assert gpu.throttle == ("idle",)
    assert gpu.power_limit_watts == 650
    assert (gpu.ecc, gpu.mig) == (True, False)  # now, not after the next reset
    assert (gpu.driver, gpu.cuda) == ("580.65.06", "13.1")


def test_the_most_of_a_link_is_the_card_s_own_not_the_slot_s(tmp_path: Path) -> None:
    # In a x8 slot of generation 4, NVML's most is what GPU and slot can do together.
    nvml = Nvml(
        nvmlDeviceGetCurrPcieLinkGeneration=1,
        nvmlDeviceGetCurrPcieLinkWidth=8,
        nvmlDeviceGetMaxPcieLinkGeneration=4,
        nvmlDeviceGetMaxPcieLinkWidth=8,
    )
    seen = read_nvidia_gpus(nvml, write_tree(tmp_path, gpu_node(vendor="10de")))[0].pcie
    hidden = read_nvidia_gpus(nvml, tmp_path / "no sysfs")[0].pcie
    assert seen == PcieLink(1, 8, 5, 16)
    assert seen.narrow
    assert hidden == PcieLink(1, 8, 4, 8)
    assert not hidden.narrow


def test_what_nvml_refuses_is_unknown(tmp_path: Path) -> None:
    names = [name for name in vars(Nvml())["_answers"] if name.startswith("nvmlDeviceGet")]
    refused = {
        name: pynvml.NVMLError_NotSupported()
        for name in names
        if name not in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")
    }
    gpu = read_nvidia_gpus(
        Nvml(
            **refused,
            nvmlSystemGetDriverVersion=pynvml.NVMLError_Unknown(),
            nvmlSystemGetCudaDriverVersion_v2=pynvml.NVMLError_Unknown(),
        ),
        tmp_path,
    )[0]
    known = {
        name: value for name in gpu.__struct_fields__ if (value := getattr(gpu, name)) is not None
    }
    # Not supported means for NVLink that the GPU has none.
    assert known == {"vendor": "nvidia", "index": 0, "nvlinks": 0, "nvlinks_active": 0}


def test_nvlinks_are_unknown_where_nvml_fails_otherwise(tmp_path: Path) -> None:
    nvml = Nvml(nvmlDeviceGetNvLinkState=pynvml.NVMLError_Unknown())
    assert read_nvidia_gpus(nvml, tmp_path)[0].nvlinks is None


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, ()),
        (0x44, ("power cap", "hardware thermal slowdown")),
        (0x8000, ("reason 0x8000",)),
    ],
)
def test_throttle_reasons_are_named(tmp_path: Path, bits: int, reasons: tuple[str, ...]) -> None:
    nvml = Nvml(nvmlDeviceGetCurrentClocksEventReasons=bits)
    assert read_nvidia_gpus(nvml, tmp_path)[0].throttle == reasons


def test_one_gpu_that_is_lost_leaves_the_others(tmp_path: Path) -> None:
    def handle(index: int) -> int:
        if index == 2:
            raise pynvml.NVMLError_GpuIsLost()
        return index

    gpus = read_nvidia_gpus(Nvml(nvmlDeviceGetHandleByIndex=handle), tmp_path)
    assert [gpu.index for gpu in gpus] == [0, 1, 3, 4, 5, 6, 7]


def test_gpus_on_the_bus_without_a_driver_are_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path, gpu_node(vendor="10de"))
    facts = gather_facts(root)
    assert facts.gpus == ()
    assert facts.silent_gpus == tuple(gpu_address(slot) for slot in range(8))


def test_a_machine_without_an_nvidia_driver_has_no_nvidia_gpu() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert find_nvidia_gpus(Path("/")) == ()
    else:
        assert len(find_nvidia_gpus(Path("/"))) == pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()


def test_an_amd_card_s_own_switch_is_looked_through(tmp_path: Path) -> None:
    # Root port (1022), then the card: upstream port, downstream port, GPU.
    port = "sys/devices/pci0000:00/0000:00:01.1"
    upstream = f"{port}/0000:03:00.0"
    gpu = f"{upstream}/0000:04:00.0/0000:05:00.0"
    good = ["16.0 GT/s PCIe", "16", "16.0 GT/s PCIe", "16"]
    tree: Tree = {
        **pci_files(port, ("1022", "1483"), "0x060400", 0, good),
        **pci_files(upstream, ("1002", "1478"), "0x060400", 0, ["8.0 GT/s PCIe", "4", *good[2:]]),
        **pci_files(gpu.rsplit("/", 1)[0], ("1002", "1479"), "0x060400", 0, good),
        **pci_files(gpu, ("1002", "73bf"), "0x030000", 0, good),
    }
    root = write_tree(tmp_path, tree)
    card = root / "sys/class/drm/card0"
    card.mkdir(parents=True)
    (card / "device").symlink_to(root / gpu)
    (found,) = gather_facts(root).gpus
    assert found.pci_address == "0000:05:00.0"
    assert found.pcie == PcieLink(3, 4, 4, 16)
