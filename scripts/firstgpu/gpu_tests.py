"""The tests that need a GPU; one that is skipped for no good reason has failed."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from firstgpu.answer import Answer, judge
from firstgpu.gpu import open_device

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = re.compile(r"\b[2-9] GPUs|two GPUs|no MPI|AMD GPUs|compute capability", re.I)
"""Reasons of tests that one NVIDIA GPU, perhaps without an MPI, cannot run."""


class Report(NamedTuple):
    """What pytest tells in its XML."""

    passed: int
    failed: list[str]
    unexpected: list[str]
    expected: int


def read_report(file: Path) -> Report:
    """Return what the tests came to.

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
        elif EXPECTED.search(f"{skip.get('message')} {skip.text}"):
            expected += 1
        else:
            unexpected.append(f"{name} was skipped: {skip.get('message')}")
    return Report(passed, failed, unexpected, expected)


def ask(folder: Path) -> Answer:
    """Run them; a warning at the import of CuPy is none of ours, and ends nothing."""
    open_device()
    files = sorted({
        str(path) for path in (ROOT / "tests").glob("test_*.py") if "mark.gpu" in path.read_text()
    })  # fmt: skip
    report = folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=-rs", "-W", "default"]
    command += ["-m", "gpu", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    answer = subprocess.run([*command, f"--junit-xml={report}", *files], cwd=ROOT)
    found = read_report(report)
    wrong = [f"failed: {name}" for name in found.failed] + found.unexpected
    if not found.passed:
        wrong.append(f"pytest ended with status {answer.returncode} and no test passed")
    came = f"{found.passed} passed, {found.expected} skipped for want of what one GPU has not"
    means = "what the simulated CUDA let pass holds on a real one"
    return judge(wrong[:5], came, means, [])
