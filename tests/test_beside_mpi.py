"""What OSU Micro-Benchmarks and the Intel MPI Benchmarks print, and our numbers in their units."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
beside = pytest.importorskip("provekit.beside")

MIB = 2**20

LATENCY = """
# OSU MPI Latency Test v7.4
# Datatype: MPI_CHAR.
# Size       Avg Latency(us)
8                       0.38
"""
RATES = """# OSU MPI Multiple Bandwidth / Message Rate Test v7.4
# [ pairs: 1 ] [ window size: 64 ]
# Datatype: MPI_CHAR.
# Size                  MB/s        Messages/s
1048576              2276.82           2171.35
"""
IMB = """
#    Intel(R) MPI Benchmarks 2021.11, MPI-1 part

# Benchmarking PingPong
# #processes = 2
       #bytes #repetitions      t[usec]   Mbytes/sec
      1048576          100      2805.61       373.74

# Benchmarking Biband
# #processes = 2
       #bytes #repetitions   Mbytes/sec      Msg/sec
      1048576          100      7167.06         6835

# Benchmarking Allreduce
# #processes = 2
       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]
      1048576          100      4833.30      4899.39      4866.34
"""


def test_the_number_of_a_size_is_read_and_no_other() -> None:
    assert beside.read_osu(LATENCY, 8) == 0.38
    assert beside.read_osu(RATES, MIB) == 2276.82
    assert beside.osu_version(LATENCY) == beside.osu_version(RATES) == "OSU Micro-Benchmarks 7.4"
    with pytest.raises(ValueError, match="no line of 16 B"):
        beside.read_osu(LATENCY, 16)


def test_columns_go_by_the_benchmark_that_prints_them() -> None:
    found = beside.read_imb(IMB, MIB)
    assert found["PingPong"]["t[usec]"] == 2805.61
    assert found["Biband"]["Mbytes/sec"] == 7167.06
    assert found["Allreduce"]["t_avg[usec]"] == 4866.34
    assert beside.imb_version(IMB) == "Intel MPI Benchmarks 2021.11"
    with pytest.raises(ValueError, match="no line of 8 B"):
        beside.read_imb(IMB, 8)


def test_our_units_are_theirs() -> None:
    found = beside.read_imb(IMB, MIB)
    # A ping-pong's rate is one message in half a round trip.
    half_s = found["PingPong"]["t[usec]"] / 1e6
    assert beside.mbytes_per_s(MIB, half_s) == pytest.approx(
        found["PingPong"]["Mbytes/sec"], abs=0.01
    )
    assert beside.microseconds(half_s) == pytest.approx(2805.61)
    # Both ways: two messages, of which each counts.
    pair_s = 2 / found["Biband"]["Msg/sec"]
    assert beside.mbytes_per_s(MIB, pair_s, 2) == pytest.approx(
        found["Biband"]["Mbytes/sec"], rel=1e-3
    )
    assert beside.mbytes_per_s(MIB, 1 / 2171.35) == pytest.approx(
        beside.read_osu(RATES, MIB), rel=1e-5
    )
    call = found["Allreduce"]
    ends = {0: [call["t_min[usec]"]] * 3, 1: [call["t_max[usec]"]] * 3}
    assert beside.mean_over_ranks(ends) == pytest.approx(call["t_avg[usec]"], abs=0.01)


def test_the_median_of_pairs_decides_and_every_row_is_shown() -> None:
    near = beside.Compared(
        "osu_bw", "1 MiB", "MB/s", ((100.0, 104.0), (100.0, 101.0), (50.0, 100.0))
    )
    far = near._replace(pairs=((100.0, 106.0), (100.0, 94.0), (100.0, 94.5)))
    assert near.ratio == 1.04
    assert (near.close, far.close) == (True, False)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert beside.print_compared([near])
        assert not beside.print_compared([near, far])
    lines = out.getvalue().splitlines()
    assert "| osu_bw | 1 MiB | MB/s | 100 | 101 | 1.040 | 1.01 to 2.00 | yes |" in lines
    assert lines[-1].endswith("| 0.94 to 1.06 | NO |")
    assert len({line.count("|") for line in lines}) == 1


def test_without_a_program_there_is_nothing_to_hold_against() -> None:
    command = [sys.executable, str(SCRIPTS / "beside-mpi")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "name --osu, --imb, or both" in answer.stderr
