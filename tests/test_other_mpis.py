"""The same program under MPICH, and under the standard ABI of MPI 5, each in its own environment.

The wheels of two MPIs overwrite each other's files, so neither can be in the environment of the
other tests.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.records import Status
from bench.store.folder import open_run

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.mpi, pytest.mark.slow]
COMPILER = shutil.which("cc") or shutil.which("gcc")

MOST_ROUNDS = 5
SUITE = """
[suite]
name = "small"
cap_s = 0.05
[[benchmark]]
name = "latency"
bytes = ["8 B", "64 KiB", "1 MiB"]
[[benchmark]]
name = "bandwidth"
bytes = ["8 B", "1 MiB"]
[[benchmark]]
name = "bibandwidth"
bytes = ["8 B", "1 MiB"]
"""


@pytest.fixture(scope="session")
def standard_abi(mpich: Path) -> Path:
    """Return the Python of an environment whose mpi4py was built for the standard ABI."""
    if COMPILER is None:
        pytest.skip("no C compiler; install the package gcc")
    folder = ROOT / ".venv-abi"
    python = folder / "bin" / "python"
    subprocess.run([ROOT / "scripts" / "make-env", folder.name, "mpich"], check=True)
    built = folder / ".mpi4py-built-for-abi"
    if not built.is_file():
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        source = ["--no-binary", "mpi4py", "--no-cache-dir", "--force-reinstall", "--no-deps"]
        env = {**os.environ, "MPICC": str(folder / "bin" / "mpicc_abi")}
        subprocess.run([*install, *source, "mpi4py"], check=True, env=env)
        built.touch()
    return python


def check_run(python: Path, folder: Path) -> None:
    suite = folder / "small.toml"
    suite.write_text(SUITE)
    command = [python, "-m", "bench", "run", str(suite), "-o", str(folder), "--no-report"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert answer.returncode == 0, answer.stderr
    rows = open_run(folder / "latest").rows()
    assert len(rows) == 7
    assert {row.status for row in rows} == {Status.OK}
    assert {row.timing_layer for row in rows} == {"numba"}
    assert all(row.bytes_wrong == 0 and row.bytes_checked for row in rows)


def test_mpich_with_its_4_byte_handles(mpich: Path, tmp_path: Path) -> None:
    check_run(mpich, tmp_path)


def test_the_standard_abi_with_its_8_byte_handles(standard_abi: Path, tmp_path: Path) -> None:
    check_run(standard_abi, tmp_path)
    measured = open_run(tmp_path / "latest").meta.measured
    assert "libmpi_abi" in (measured.mpi["library_path"] or "")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler; install the package gcc")
@pytest.mark.parametrize("mpi", ["openmpi", "mpich"])
def test_the_loops_are_about_as_fast_as_plain_c(mpi: str, request: pytest.FixtureRequest) -> None:
    """A short form of scripts/parity, on a machine that others may use too.

    What disturbs only adds time, so the fastest of both are compared, and where the machine was
    busy the whole time, further pairs are measured. An interpreter in the loop would make the
    harness 2 to 4 times as slow at 8 bytes in every pair.
    """
    python = Path(sys.executable) if mpi == "openmpi" else request.getfixturevalue("mpich")
    command = [python, ROOT / "scripts" / "parity", "--here", "--json", "--pairs", "4"]
    seconds: dict[str, list[tuple[float, float]]] = {}
    slower: dict[str, float] = {}
    for _ in range(MOST_ROUNDS):
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        (table,) = json.loads(answer.stdout).values()
        for name, pairs in table["pairs"].items():
            seconds.setdefault(name, []).extend(pairs)
            fastest_c, fastest_harness = (min(side) for side in zip(*seconds[name], strict=True))
            slower[name] = fastest_harness / fastest_c
        if max(slower.values()) < 1.25:
            break
    assert max(slower.values()) < 1.5, seconds
