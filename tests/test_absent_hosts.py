"""A host that is lost costs the jobs that need it, and is asked for by the name it was given."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import pytest
from begun import begun_plan

from bench.contracts import LaunchCommand
from bench.core.events import (
    CaseEnded,
    CaseStarted,
    Done,
    Facts,
    RankFacts,
    Samples,
    SharedAddress,
    encode,
)
from bench.core.placement import Placement, place_ranks
from bench.core.records import CONTROL, Case, Job, Row, Status
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import parse_suite
from bench.run.resume import is_final
from bench.run.runner import Runner
from bench.store.folder import RunFolder, open_run
from bench.store.recorder import Recorder

HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
LOST = HOSTS[3]
SUITE = """
[suite]
name = "mine"
launches = 3
[[benchmark]]
name = "barrier"
ranks = [2, 4]
"""


class Cluster:
    """Launches jobs that print what ranks would; a job that needs the lost host dies."""

    name = "cluster"
    most_ranks = None
    reaches_hosts = True
    nodes = len(HOSTS)

    def __init__(self, folder: Path, sends_facts: bool) -> None:
        self.folder = folder
        self.sends_facts = sends_facts
        self.started: list[Job] = []
        self.nodes_facts: dict[str, dict[str, object]] = {}
        self.shared: tuple[SharedAddress, ...] = ()

    def place(self, ranks: int) -> Placement:
        return place_ranks(ranks, HOSTS)

    def command(self, job: Job) -> LaunchCommand:
        self.started.append(job)
        events = []
        if self.sends_facts:
            ranks = [RankFacts(host, 1, (rank,)) for rank, host in enumerate(job.hosts)]
            events.append(
                Facts(
                    ranks=tuple(ranks),
                    nodes=self.nodes_facts,
                    shared=self.shared,
                    mpi_library=None,
                    thread_level=None,
                    message_layer=None,
                    overhead_s=None,
                )
            )
        if LOST not in job.hosts:
            for case in job.cases:
                samples = [Samples(case.id, rank, (1e-6, 2e-6)) for rank in range(job.ranks)]
                ended = CaseEnded(case=case.id, status=Status.OK, loops=1)
                events += [CaseStarted(case.id), *samples, ended]
            events.append(Done(job.id))
        elif self.sends_facts:
            events.append(CaseStarted(job.cases[0].id))
        path = self.folder / f"{job.id}-{job.attempt}.events"
        path.write_bytes(b"".join(map(encode, events)))
        program = (
            "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer);"
            f"sys.exit({int(LOST in job.hosts)})"
        )
        return LaunchCommand((sys.executable, "-P", "-c", program, str(path)), {})


class Silent:
    """Shows nobody how far the run is."""

    def queued(self, where: str) -> None: ...
    def started(self, case: Case, left_s: float) -> None: ...
    def ended(self, rows: Sequence[Row]) -> None: ...
    def waiting(self, left_s: float) -> None: ...
    def show(self, line: str) -> None: ...
    def close(self) -> None: ...


def run_on(
    launcher: Cluster, folder: Path, plan: Plan | None = None
) -> tuple[list[Row], RunFolder]:
    """Run the suite, or a plan, to its end; return its rows and its folder."""
    plan = plan or make_plan(parse_suite(SUITE, "mine"))
    recorder = Recorder(begun_plan(folder, plan, launcher="cluster"))
    Runner(plan, launcher, recorder, Silent(), lambda *_: []).run()
    recorder.end("complete")
    recorder.finish()
    run = open_run(folder)
    rows = run.rows()
    assert len(rows) == plan.cases()
    return rows, run


@pytest.mark.parametrize("sends_facts", [True, False])
def test_a_lost_host_costs_only_the_jobs_that_need_it(sends_facts, tmp_path, monkeypatch):
    asked: list[str] = []

    def find_silent(hosts: Collection[str]) -> dict[str, str]:
        asked.extend(hosts)
        return {host: "no answer over ssh: timed out" for host in hosts if host == LOST}

    monkeypatch.setattr("bench.run.runner.find_silent_hosts", find_silent)
    launcher = Cluster(tmp_path, sends_facts)
    rows, _ = run_on(launcher, tmp_path)
    by_ranks = {ranks: [row for row in rows if row.ranks == ranks] for ranks in (2, 4)}
    assert {row.status for row in by_ranks[2]} == {Status.OK}
    assert {row.status for row in by_ranks[4]} == {Status.FAILED}
    assert all(LOST in (row.reason or "") for row in by_ranks[4])
    # It is started once; after that its silence is reason enough.
    assert sum(LOST in job.hosts for job in launcher.started) == 1
    assert set(asked) <= set(HOSTS)


@pytest.mark.parametrize("lost", [True, False])
def test_a_control_run_that_went_down_with_a_host_is_measured_again(lost, tmp_path, monkeypatch):
    """One whose job ends by itself has answered: what it requires is not there."""
    silent = {LOST: "no answer over ssh: timed out"} if lost else {}
    monkeypatch.setattr("bench.run.runner.find_silent_hosts", lambda _hosts: silent)
    rows, _ = run_on(Cluster(tmp_path, True), tmp_path, plan_of_controls())
    by_ranks = {ranks: [row for row in rows if row.ranks == ranks] for ranks in (2, 4)}
    assert {row.status for row in by_ranks[4]} == {Status.SKIPPED}
    assert all(map(is_final, by_ranks[2]))
    assert not any(is_final(row) for row in by_ranks[4]) if lost else all(map(is_final, rows))


def plan_of_controls() -> Plan:
    plan = make_plan(parse_suite(SUITE, "mine"))
    jobs = tuple(
        msgspec.structs.replace(
            job,
            cases=tuple(
                msgspec.structs.replace(case, axes={**case.axes, CONTROL: "required"})
                for case in job.cases
            ),
        )
        for job in plan.jobs
    )
    return msgspec.structs.replace(plan, jobs=jobs)


def test_an_address_that_ranks_find_shared_is_a_finding_once(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.runner.find_silent_hosts", lambda _hosts: {})
    monkeypatch.delenv("OMPI_MCA_btl_tcp_if_include", raising=False)
    monkeypatch.delenv("OMPI_MCA_btl_tcp_if_exclude", raising=False)
    launcher = Cluster(tmp_path, True)
    launcher.shared = (
        SharedAddress(
            interface="virbr0",
            kind="bridge",
            address="192.168.122.1/24",
            carrier=False,
            hosts=HOSTS[:2],
        ),
    )
    _, run = run_on(launcher, tmp_path)
    (finding,) = (found for found in run.findings if found.name == "shared-address")
    assert finding.about.hosts == HOSTS[:2]
    assert "virbr0 (bridge, nothing connected) has 192.168.122.1/24" in finding.text


def test_facts_that_cannot_be_read_end_no_run(tmp_path, monkeypatch):
    """A node with another version of the program, under a scheduler, sends what is none here."""
    monkeypatch.setattr("bench.run.runner.find_silent_hosts", lambda _hosts: {})
    launcher = Cluster(tmp_path, True)
    launcher.nodes_facts = {HOSTS[0]: {"gpus": "eight"}, HOSTS[1]: {"clock_s": 1.0}}
    rows, run = run_on(launcher, tmp_path)
    assert {row.status for row in rows if row.ranks == 2} == {Status.OK}
    assert list(run.nodes.hosts) == [HOSTS[1]]
