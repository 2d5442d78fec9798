"""The tests that need a GPU; one that is skipped for no good reason has failed."""

import importlib
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from firstgpu.answer import Answer, judge
from firstgpu.gpu import open_device
from firstgpu.rows import end_in_time

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = re.compile(r"\b[2-9] GPUs|two GPUs|no MPI|AMD GPUs|compute capability", re.I)
"""Reasons of tests that one NVIDIA GPU, perhaps without an MPI, cannot run."""
WITHOUT_NCCL = re.compile(r"CuPy finds no NCCL|it needs its library, of CUDA")
"""Reasons that are good where CuPy finds no NCCL, and wrong where it does."""
MOST_NAMED = 5


class Report(NamedTuple):
    """What pytest tells in its XML."""

    passed: int
    failed: list[str]
    unexpected: list[str]
    expected: int


def has_nccl() -> bool:
    """Return whether CuPy finds NCCL."""
    try:
        return bool(importlib.import_module("cupy.cuda.nccl").available)
    except ImportError:
        return False


def read_report(file: Path, nccl: bool) -> Report:
    """Return what the tests came to.

    Args:
        file: that pytest wrote.
        nccl: whether it is here, and what needs it has to run.

    Raises:
        OSError: where there is no such file.
        ET.ParseError: where it is cut off.
    """
    passed = expected = 0
    failed, unexpected = [], []
    for test in ET.parse(file).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = f"{test.get('classname')}::{test.get('name')}"
        skip = test.find("skipped")
        if test.find("failure") is not None or test.find("error") is not None:
            failed.append(name)
        elif skip is None:
            passed += 1
        elif _is_good(f"{skip.get('message')} {skip.text}", nccl):
            expected += 1
        else:
            unexpected.append(f"{name} was skipped: {skip.get('message')}")
    return Report(passed, failed, unexpected, expected)


def _is_good(reason: str, nccl: bool) -> bool:
    return bool(EXPECTED.search(reason) or (not nccl and WITHOUT_NCCL.search(reason)))


def ask(folder: Path) -> Answer:
    """Run them; a warning at the import of CuPy is none of ours, and ends nothing."""
    open_device()
    files = sorted({
        str(path) for path in (ROOT / "tests").glob("test_*.py") if "mark.gpu" in path.read_text()
    })  # fmt: skip
    report = folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=-rs", "-W", "default"]
    command += ["-m", "gpu", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    # A shell that runs this in the background lets all below it ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*command, f"--junit-xml={report}", *files], cwd=ROOT)
    end_in_time(process, signal.SIGINT)  # at which pytest writes what it has
    nccl = has_nccl()
    found = read_report(report, nccl)
    wrong = [f"failed: {name}" for name in found.failed] + found.unexpected
    if process.returncode not in (0, 1) or not found.passed:  # 1: tests failed
        wrong.insert(0, f"pytest ended with status {process.returncode}, {found.passed} passed")
    came = f"{found.passed} passed, {found.expected} skipped for want of what is not here"
    means = "what the simulated CUDA let pass holds on a real one; of NCCL, which " + (
        "is here, too" if nccl else "CuPy does not find, nothing was tested"
    )
    return judge(name_some(wrong), came, means, [])


def name_some(wrong: list[str]) -> list[str]:
    """Return the first of many, and how many more there are."""
    more = len(wrong) - MOST_NAMED
    return [*wrong[:MOST_NAMED], f"and {more} more"] if more > 0 else wrong
