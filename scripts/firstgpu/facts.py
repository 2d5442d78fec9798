"""What is here, in files, and what NVML's counters add up to while known bytes are copied."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.rank.memory.gpu import Gpu
from firstgpu.answer import Answer, NotHereError, Outcome
from firstgpu.deadline import left_s
from firstgpu.gpu import open_device, open_pair

QUICK = {
    "nvidia-smi.txt": ["nvidia-smi", "-q"],
    "topology.txt": ["nvidia-smi", "topo", "-m"],
    "nvcc.txt": ["nvcc", "--version"],
    "cpu.txt": ["lscpu"],
}
SLOW = {
    "packages.txt": [sys.executable, "-m", "pip", "list"],
    "doctor.txt": [sys.executable, "-m", "bench", "doctor"],
}
COMMAND_S = 15.0
CLOSING_S = 2.0
MEANS = "a counter of 32 bits wraps within 4 GiB: of such none but differences in a blink count"
FIELDS = {138: "NVLink data sent, KiB", 139: "NVLink data received, KiB", 186: "power now, mW",
          197: "PCIe bytes sent", 198: "PCIe bytes received"}  # fmt: skip
VALUE_TYPES = ("double", "unsigned int", "unsigned long", "unsigned long long",
               "signed long long", "signed int", "unsigned short")  # fmt: skip
COPIES, COPY_BYTES = 40, 2**28


def keep_facts(folder: Path, commands: dict[str, list[str]]) -> list[str]:
    """Write what commands tell into files; return which are not here."""
    absent = []
    for file, command in commands.items():
        most_s = max(1.0, min(COMMAND_S, left_s() - CLOSING_S))
        try:
            with (folder / file).open("wb") as sink:
                subprocess.run(command, stdout=sink, stderr=sink, timeout=most_s)
        except FileNotFoundError:
            absent.append(command[0])
        except subprocess.TimeoutExpired:
            absent.append(f"{file} in {most_s:.0f} s")
    return absent


def read_fields(nvml: Any, handle: Any) -> dict[int, tuple[int, str, float | None]]:
    """Return status, type and value of each field."""
    names = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
    found = {}
    for number in FIELDS:
        (answer,) = nvml.nvmlDeviceGetFieldValues(handle, [number])
        kind = int(answer.valueType)
        value = None
        if answer.nvmlReturn == 0 and kind < len(names):
            value = float(getattr(answer.value, names[kind]))
        found[number] = (int(answer.nvmlReturn), VALUE_TYPES[kind : kind + 1][0], value)
    return found


def ask(folder: Path) -> Answer:
    """Keep the facts and count; what takes longest comes last."""
    absent = keep_facts(folder, QUICK)
    try:
        came, table = count(open_device().gpu)
    except NotHereError as missing:
        keep_facts(folder, SLOW)
        return Answer(Outcome.WRONG, str(missing), "there is nothing to ask; see doctor.txt")
    Answer(Outcome.CUT, came, MEANS, table, finished=False).write(folder)
    absent += keep_facts(folder, SLOW)
    came += f"; not here: {', '.join(absent)}" if absent else ""
    return Answer(Outcome.RIGHT, came, MEANS, table)


def count(gpu: Gpu) -> tuple[str, list[list[str]]]:
    """Return the names and versions of a GPU, and what the counters told of its copies."""
    name = gpu.cupy.cuda.runtime.getDeviceProperties(gpu.number)["name"].decode()
    runtime, driver = gpu.runtime.runtimeGetVersion(), gpu.runtime.driverGetVersion()
    versions = f"CuPy {gpu.cupy.__version__}, CUDA runtime {runtime}, driver {driver}"
    table = [["field", "status", "type", "before", "after", "bytes copied"]]
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(gpu.pci_address)
        before = read_fields(nvml, handle)
        copies = open_device().open_copies(
            [open_pair(("pinned", "device"), COPY_BYTES).transfer()], "copy-engine"
        )
        copies.time(COPIES)
        after = read_fields(nvml, handle)
        for number, what in FIELDS.items():
            status, kind, value = after[number]
            table.append([f"{number} {what}", str(status), kind, _text(before[number][2]),
                          _text(value), str(COPIES * COPY_BYTES)])  # fmt: skip
    except Exception as error:  # noqa: BLE001 - NVML has an error of its own for everything
        table.append(["NVML", f"{type(error).__name__}: {error}", "", "", "", ""])
    return f"{name}; {versions}", table


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
