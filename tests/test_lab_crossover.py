"""A crossover for real: two pairs of hosts of the lab, one on A while the other is on B."""

import itertools
import os
import statistics
import sys
from pathlib import Path

import pytest
from test_lab import STATE, lab, lab_possible, lab_up

from bench.core.clock import utc_seconds
from bench.store.ab import SIDES, AbRecord, read_ab
from bench.store.folder import open_run

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.slow]
__all__ = ["lab_possible"]

LAUNCHES = 4
SUITE = """
[suite]
name = "crossing"
cap_s = 0.1
[[benchmark]]
name = "bandwidth"
bytes = "64 KiB"
window = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, lab_possible: None) -> Path:
    """Compare two links of every host, of which the second has half the rate."""
    where = tmp_path_factory.mktemp("crossing")
    suite = where / "crossing.toml"
    suite.write_text(SUITE)
    env = {**os.environ, "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_mpi_yield_when_idle": "1"}
    links = [f"mca.btl_tcp_if_include=10.78.{number}.0/24" for number in (1, 2)]
    # With less than a core of their own, ranks are not sampled again where others run on it.
    hosts = [f"h{number}" for number in range(1, 5)]
    slow = [f"--slow={host}.2=50%" for host in hosts]
    quotas = [f"--cpu={host}=0.99" for host in hosts]
    with lab_up("--hosts", "4", "--rate", "60mbit", "--links", "2", *slow, *quotas):
        answer = lab(
            *("exec", "h1", sys.executable, "-m", "bench", "ab", suite, "--launches", LAUNCHES),
            *("--hostfile", STATE / "hostfile", "--bind", "none", "--no-report", "-o", where),
            *("--a", links[0], "--b", links[1]),
            env=env,
        )
    assert answer.returncode == 3, answer.stderr  # four launches are too few to tell
    return Path(answer.stdout.split()[-1])


def test_at_every_moment_each_side_has_a_pair_of_its_own(folder: Path) -> None:
    record = read_ab(folder)
    assert len(record.pairs) == 2
    rows = {(side, row.launch): row for side in SIDES for row in open_run(folder / side).rows()}
    for _, (first, second) in itertools.groupby(record.slots, lambda slot: slot.period):
        assert {first.side, second.side} == set(SIDES)
        assert {first.hosts, second.hosts} == set(record.pairs)
        apart_s = abs(utc_seconds(str(first.begun_utc)) - utc_seconds(str(second.begun_utc)))
        assert apart_s < min(first.seconds or 0, second.seconds or 0)
    for slot in record.slots:
        row = rows[slot.side, slot.launch]
        assert (row.src_host, row.dst_host) == slot.hosts


def test_each_pair_finds_the_link_of_half_the_rate(folder: Path) -> None:
    record = read_ab(folder)
    for pair in record.pairs:
        a, b = (middle_s(folder, record, side, pair) for side in SIDES)
        assert b / a == pytest.approx(2, rel=0.2)


def middle_s(folder: Path, record: AbRecord, side: str, pair: tuple[str, str]) -> float:
    """Return the median over the launches of a side on a pair."""
    own = {slot.launch for slot in record.slots if (slot.side, slot.hosts) == (side, pair)}
    rows = open_run(folder / side).rows()
    return statistics.median(row.t_s for row in rows if row.launch in own and row.t_s)
