"""Launchers with a scheduler behind them: their commands, their scripts, and how jobs are followed.

Scripts are compared with stored ones. Real jobs through a real Slurm are in test_batch_slurm.py.
"""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_plan import golden

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.core.records import Case, Job, Sampling, Stage
from bench.launch import find_launcher
from bench.launch.batch.follow import Follower
from bench.launch.batch.pbs import Pbs, PbsLauncher
from bench.launch.batch.queue import EXIT_MARKER, Phase, batch_files, time_limit
from bench.launch.batch.script import directive, quote
from bench.launch.batch.slurm import SbatchLauncher, Slurm, SrunLauncher
from bench.launch.site import Container, Site
from bench.machine.mpi import MpiInstall
from bench.machine.software import steering_variables

OPEN_MPI = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
MPICH = MpiInstall(family="mpich", name="MPICH", version=(5, 0, 2), mpirun="/m5/mpiexec")
FOLDER = Path("/shared/results/20261120T131244Z-small-14ab9e/batch")
HOSTS = ("n01", "n02", "n03")
PYTHON = sys.executable
SITE = Site(
    modules=("module load openmpi/5  # ours",),
    account="hpc 42",
    partition="gpu",
    time="02:00:00",
    flags=("--qos", 'a "b" \\c'),
    environment={"EMPTY": "", "UCX_TLS": "rc,self", "WORDS": "it's $HOME `reboot`"},
    mpi="pmix_v4",
)
APPTAINER = Site(
    container=Container(image="/images/bench.sif", gpu=True, mounts=("/scratch:/data",))
)
PYXIS = Site(
    environment={"UCX_TLS": "rc"},
    container=Container(image="nvcr.io#x:1", runtime="pyxis", mounts=("/data",), python="python3"),
)
BLAND = Site(account="hpc 42", partition="gpu", flags=("-W", "umask=077"), environment={"A": "b c"})


def job(ranks: int = 2, threads: int = 1, attempt: int = 0, cases: int = 0) -> Job:
    planned = tuple(Case(f"latency/bytes={i}", "latency", {}) for i in range(cases))
    return Job("000-target-0", Stage.TARGET, 0, ranks, threads, planned, attempt=attempt)


@pytest.fixture(autouse=True)
def known_python(monkeypatch):
    monkeypatch.setattr("sys.executable", "/opt/bench/bin/python")
    for name in steering_variables(os.environ):
        monkeypatch.delenv(name)


@pytest.fixture
def allocation(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "8(x2)")


def sbatch(mpi=OPEN_MPI, hosts=(), nodes=2, bind="auto", site=None, folder=FOLDER):
    return SbatchLauncher(mpi, hosts, nodes, bind, site or Site(), folder)


def pbs(mpi=OPEN_MPI, hosts=(), nodes=2, bind="auto", site=None, folder=FOLDER):
    return PbsLauncher(mpi, hosts, nodes, bind, site or Site(), folder)


SCRIPTS = {
    "sbatch-plain.sh": lambda: sbatch().script(job()),
    "sbatch-site.sh": lambda: sbatch(hosts=HOSTS, site=SITE).script(job(7, threads=4, cases=90)),
    "sbatch-apptainer.sh": lambda: sbatch(MPICH, site=APPTAINER).script(job(4, threads=0)),
    "sbatch-pyxis.sh": lambda: sbatch(site=PYXIS).script(job(attempt=2)),
    "pbs-plain.sh": lambda: pbs().script(job()),
    "pbs-site.sh": lambda: pbs(hosts=HOSTS, site=BLAND).script(job(7, threads=4)),
    "pbs-mpich.sh": lambda: pbs(MPICH, nodes=3, site=APPTAINER).script(job(5)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_what_was_agreed(name, tmp_path):
    golden(name, SCRIPTS[name](), tmp_path)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_understands_the_script(name, tmp_path):
    script = tmp_path / name
    script.write_text(SCRIPTS[name]())
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("make", [sbatch, pbs])
def test_what_is_submitted_is_the_last_token(make):
    launcher = make()
    command = launcher.command(job())
    assert command.tokens[1:4] == ("-P", "-m", "bench.launch.batch.submit")
    assert command.tokens[-2:] == (str(FOLDER), launcher.script(job()))
    assert command == launcher.command(job())


@pytest.mark.parametrize("launcher", ["sbatch", "pbs"])
def test_a_plan_prints_the_script_word_for_word(launcher, capsys, monkeypatch):
    monkeypatch.setattr("bench.run.resolve.find_mpi", lambda _: OPEN_MPI)
    monkeypatch.setattr("bench.run.resolve._library_under", lambda _: OPEN_MPI)
    flags = ["plan", "quick", "--launcher", launcher, "--nodes", "2"]
    assert run_command([*flags, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["jobs"]
    assert run_command(flags) == 0
    text = capsys.readouterr().out
    for entry in printed:
        tokens = entry["command"]["tokens"]
        assert tokens[-2] == "RUN/batch"
        assert shlex.join(tokens) in text


@pytest.mark.usefixtures("allocation")
@pytest.mark.parametrize(
    ("mpi", "asked", "hosts", "nodes", "options"),
    [
        (OPEN_MPI, job(), (), None, "--mpi=pmix --nodes=2 --ntasks=2 --ntasks-per-node=1 CORES"),
        (MPICH, job(), (), None, "--mpi=pmi2 --nodes=2 --ntasks=2 --ntasks-per-node=1 CORES"),
        (MPICH, job(4), (), None, "--mpi=pmi2 --nodes=2 --ntasks=4 --ntasks-per-node=2 CORES"),
        (MPICH, job(4), (), 1, "--mpi=pmi2 --nodes=1 --ntasks=4 --ntasks-per-node=4 CORES"),
        (MPICH, job(1), (), None, "--mpi=pmi2 --nodes=1 --ntasks=1 --ntasks-per-node=1 CORES"),
        (
            MPICH,
            job(2, threads=4),
            HOSTS[:2],
            None,
            "--mpi=pmi2 --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=4 NONE "
            "--nodelist=n01,n02",
        ),
        # More ranks than CPUs: Slurm would wait for ever.
        (
            MPICH,
            job(20),
            (),
            None,
            "--mpi=pmi2 --nodes=2 --ntasks=20 --ntasks-per-node=10 NONE --overcommit",
        ),
    ],
)
def test_srun_is_given_these_tokens(mpi, asked, hosts, nodes, options):
    command = SrunLauncher(mpi, hosts, nodes, "auto", Site()).command(asked)
    common = "--distribution=block --cpu-bind={} --kill-on-bad-exit=1 --export=ALL --unbuffered "
    common += "--overlap --input=0"
    text = options.replace("CORES", common.format("cores")).replace("NONE", common.format("none"))
    assert command.tokens == (
        "srun",
        *text.split(),
        "/opt/bench/bin/python",
        "-P",
        "-m",
        "bench.rank",
    )
    assert command.env == {}


@pytest.mark.usefixtures("allocation")
def test_srun_heeds_the_site():
    command = SrunLauncher(OPEN_MPI, (), None, "none", SITE).command(job())
    assert "--mpi=pmix_v4" in command.tokens
    assert command.tokens[-6:-4] == SITE.flags
    assert command.env == SITE.environment
    assert not any("module" in token for token in command.tokens)


@pytest.mark.usefixtures("allocation")
def test_a_container_comes_before_the_worker():
    tokens = SrunLauncher(OPEN_MPI, (), None, "auto", APPTAINER).command(job()).tokens
    inside = ("--bind", "/scratch:/data", "/images/bench.sif", "/opt/bench/bin/python")
    assert tokens[tokens.index("apptainer") :] == (
        *("apptainer", "exec", "--nv", *inside),
        *("-P", "-m", "bench.rank"),
    )
    tokens = SrunLauncher(OPEN_MPI, (), None, "auto", PYXIS).command(job()).tokens
    assert tokens[-7:] == (
        "--container-image=nvcr.io#x:1",
        "--container-mounts=/data:/data",
        "--container-env=UCX_TLS",
        *("python3", "-P", "-m", "bench.rank"),
    )


def test_srun_outside_of_an_allocation_is_told_where_to_go(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("bench.run.resolve._library_under", lambda _: OPEN_MPI)
    assert run_command(["plan", "quick", "--launcher", "srun"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "salloc" in err
    assert "--launcher sbatch" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nodes", "2"], "--nodes is heeded by --launcher srun or sbatch or pbs only"),
        (["--work", "x"], "--work is heeded by --launcher sbatch or pbs only"),
        (["--work", "x", "--launcher", "srun"], "--work is heeded by"),
        (["--site", "x", "--launcher", "local"], "--site is heeded by"),
        (["--container", "x"], "--container is heeded by"),
        (["--launcher", "sbatch", "--mpirun", "x"], "--mpirun is heeded by"),
        (["--launcher", "sbatch", "--nodes", "2", "--hosts", "a,b"], "leave one of them out"),
        (["--launcher", "sbatch", "--hosts", "a,-oX"], "is no host name"),
        (["--launcher", "sbatch", "--work", "a\n#SBATCH --uid=0"], "holds a line break"),
    ],
)
def test_what_would_not_be_heeded_is_refused(flags, message, capsys, monkeypatch):
    monkeypatch.setattr("bench.run.resolve._library_under", lambda _: OPEN_MPI)
    assert run_command(["plan", "quick", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_pbs_refuses_what_its_lines_cannot_say():
    with pytest.raises(RequestError, match=r"flags\[1\]"):
        pbs(site=SITE)
    with pytest.raises(RequestError, match="pyxis"):
        pbs(site=PYXIS)


# Whatever a value is, it stays one word of one line.

values = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1)
HOSTILE = [
    "; reboot",
    "$(reboot)",
    "`reboot`",
    "'",
    '"',
    "\\",
    "a' 'b",
    '\\"',
    "#x",
    "*",
    "-x",
    "é",
]


@given(values | st.sampled_from(HOSTILE))
def test_a_shell_and_sbatch_read_back_what_was_meant(text):
    assert shlex.split(quote(text)) == [text]
    line = directive("#SBATCH", [f"--account={text}", text])
    assert line.splitlines() == [line]
    assert shlex.split(line.removeprefix("#SBATCH")) == [f"--account={text}", text]
    assert read_by_sbatch(line.removeprefix("#SBATCH")) == [f"--account={text}", text]


def read_by_sbatch(line: str) -> list[str]:
    """Return the words of a directive as sbatch takes them apart: quotes group, and a backslash
    keeps what follows, between quotes of both kinds too; a # outside of quotes ends the line."""
    words, word, quoted, escaped, begun = [], "", "", False, False
    for character in line + " ":
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = begun = True
        elif quoted and character == quoted:
            quoted = ""
        elif not quoted and character in "\"'":
            quoted, begun = character, True
        elif not quoted and character == " ":
            if begun:
                words.append(word)
            word, begun = "", False
        elif not quoted and character == "#":
            break
        else:
            word, begun = word + character, True
    return words


@given(values | st.sampled_from(HOSTILE), values | st.sampled_from(HOSTILE))
def test_no_value_of_a_site_becomes_a_line_of_its_own(one, two):
    image = "x" + one  # which no reader lets begin with a dash
    site = Site(
        account=one,
        partition=two,
        flags=(one, two),
        environment={"A": two},
        container=Container(image=image, mounts=(two,)),
    )
    script = sbatch(site=site, folder=Path("/shared") / one.replace("/", "")).script(job())
    plain = sbatch(site=APPTAINER).script(job())
    lines = script.splitlines()
    assert len(lines) == len(plain.splitlines()) + 4
    directives = [shlex.split(line)[1:] for line in lines if line.startswith("#SBATCH")]
    assert directives[-3:] == [[f"--account={one}"], [f"--partition={two}"], [one, two]]
    (export,) = (line for line in lines if line.startswith("export"))
    assert shlex.split(export) == ["export", f"A={two}"]
    (command,) = (shlex.split(line) for line in lines if line.startswith("srun"))
    assert command[command.index("exec") :][:3] == ["exec", "--bind", two]
    assert image in command


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x00", "a\x1b[1m", "a\u2028b", "a\x85b"])
def test_a_line_break_is_refused_wherever_it_comes_from(text):
    with pytest.raises(RequestError):
        quote(text)
    with pytest.raises(RequestError):
        directive("#SBATCH", [text])


def test_files_of_a_job_have_names_without_surprises():
    named = msgspec.structs.replace(job(), id="a/../b c\n")
    assert all(name.startswith("a_.._b_c_-0.") for name in batch_files(named))
    assert len(set(batch_files(named))) == len(batch_files(named))
    assert set(batch_files(job())).isdisjoint(batch_files(job(attempt=1)))


def test_the_limit_of_a_batch_job_leaves_room_for_its_cases():
    assert time_limit(job()) == "00:10:00"
    many = job(cases=1000)
    hours, minutes, seconds = map(int, time_limit(many).split(":"))
    rule = Sampling()
    assert hours * 3600 + minutes * 60 + seconds > 1000 * (rule.cap_s + rule.warmup_cap_s)


# What schedulers answer.


@pytest.mark.parametrize(
    ("answer", "phase", "words"),
    [
        ("PENDING|Resources\n", Phase.QUEUED, "PENDING (Resources)"),
        ("PENDING|None\n", Phase.QUEUED, "PENDING"),
        ("CONFIGURING|None\n", Phase.QUEUED, "CONFIGURING"),
        ("REQUEUE_HOLD|JobHeldAdmin\n", Phase.QUEUED, "REQUEUE_HOLD (JobHeldAdmin)"),
        ("RUNNING|None\n", Phase.RUNNING, "RUNNING"),
        ("COMPLETING|None\n", Phase.RUNNING, "COMPLETING"),
        ("TIMEOUT|TimeLimit\n", Phase.OVER, "TIMEOUT (TimeLimit)"),
        ("CANCELLED|None\n", Phase.OVER, "CANCELLED"),
        ("", Phase.OVER, "gone from the queue"),
    ],
)
def test_squeue_is_understood(answer, phase, words):
    assert Slurm().standing(0, answer, "")[:2] == (phase, words)


@pytest.mark.parametrize(
    ("state", "cut"),
    [("CANCELLED", True), ("TIMEOUT", True), ("NODE_FAIL", True), ("PREEMPTED", True),
     ("COMPLETED", False), ("FAILED", False), ("RUNNING", False)],
)  # fmt: skip
def test_a_job_that_its_script_ended_is_told_from_one_that_was_ended(state, cut):
    assert Slurm().standing(0, f"{state}|None\n", "").cut is cut


def test_a_slurm_that_gives_no_answer_is_not_one_without_the_job():
    gone = "slurm_load_jobs error: Invalid job id specified\n"
    down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    assert Slurm().standing(1, "", gone).phase is Phase.OVER
    assert Slurm().standing(1, "", down).phase is Phase.UNKNOWN
    assert Slurm().standing(None, "", "").phase is Phase.UNKNOWN


def test_the_number_of_a_batch_job_is_found_or_not():
    assert Slurm().number("17\n") == "17"
    assert Slurm().number("17;cluster\n") == "17"
    assert Slurm().number("Submitted\n") is None
    assert Pbs().number("17.server-1.example\n") == "17.server-1.example"
    assert Pbs().number("qsub: denied; -x\n") is None


QSTAT = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
17.server         cb-000-target-0  somebody          00:00:00 {} workq
"""


@pytest.mark.parametrize(
    ("letter", "phase"),
    [("Q", Phase.QUEUED), ("H", Phase.QUEUED), ("R", Phase.RUNNING), ("E", Phase.RUNNING),
     ("F", Phase.OVER), ("C", Phase.OVER), ("?", Phase.UNKNOWN)],
)  # fmt: skip
def test_qstat_is_understood(letter, phase):
    assert Pbs().standing(0, QSTAT.format(letter), "").phase is phase


def test_a_pbs_that_gives_no_answer_is_not_one_without_the_job():
    gone = "qstat: 17.server Job has finished, use -x or -H to obtain historical job information"
    assert Pbs().standing(35, "", gone).phase is Phase.OVER
    assert Pbs().standing(153, "", "qstat: Unknown Job Id 17.server").phase is Phase.OVER
    assert Pbs().standing(1, "", "cannot connect to server (errno=111)").phase is Phase.UNKNOWN
    assert Pbs().standing(0, "", "").phase is Phase.UNKNOWN


# Following a job.


def test_output_is_passed_on_in_whole_lines_up_to_the_exit_status(tmp_path):
    path, sink = tmp_path / "out", io.BytesIO()
    follower = Follower(path, sink)
    follower.look()
    with path.open("ab") as file:
        for part, passed in (
            (b"one\ntw", b"one\n"),
            (b"o\n\nthr", b"one\ntwo\n\n"),
            (b"ee\n", b"one\ntwo\n\nthree\n"),
        ):
            file.write(part)
            file.flush()
            follower.look()
            assert sink.getvalue() == passed
            assert follower.exit_status is None
        # A program that left its line open.
        file.write(b"end\n" + EXIT_MARKER.encode() + b"137\n")
    follower.look()
    assert follower.exit_status == 137
    assert sink.getvalue().endswith(b"three\nend\n")


def test_a_last_line_without_its_end_is_passed_on_too(tmp_path):
    path, sink = tmp_path / "err", io.BytesIO()
    path.write_bytes(b"killed")
    follower = Follower(path, sink)
    follower.look()
    assert sink.getvalue() == b""
    follower.finish()
    assert sink.getvalue() == b"killed\n"


def submit(folder: Path, job_line: bytes, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PYTHON, "-m", "bench.launch.batch.submit", "slurm", folder, "#!/bin/bash\n"],
        input=job_line,
        capture_output=True,
        timeout=600,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [("CANCELLED|None", b"Slurm job 12 ended early: CANCELLED\n"), ("FAILED|NonZeroExitCode", b"")],
)
def test_a_script_that_fails_before_the_queue_says_why_waits_for_its_word(state, told, tmp_path):
    # The ranks of a cancelled job end by SIGTERM, and its script with their status, first.
    folder = tmp_path / "batch"
    played = {
        "sbatch": f"printf '{EXIT_MARKER}143\\n' > {batch_files(job()).out}; echo 12",
        "squeue": f"test -e asked && echo '{state}' || echo 'COMPLETING|None'; touch asked",
    }
    for name, line in played.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    # Its input stays open, as the runner's does.
    with subprocess.Popen(
        [PYTHON, "-m", "bench.launch.batch.submit", "slurm", folder, "#!/bin/bash\n"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PATH": path},
    ) as carrier:
        assert carrier.stdin
        assert carrier.stderr
        carrier.stdin.write(msgspec.json.encode(job()) + b"\n")
        carrier.stdin.flush()
        assert carrier.stderr.read() == told
        assert carrier.wait(60) == 143


def test_without_a_scheduler_the_missing_program_is_named(tmp_path):
    line = msgspec.json.encode(job()) + b"\n"
    done = submit(tmp_path / "batch", line, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr == b"cannot start sbatch: No such file or directory\n"
    written = {path.name: path.stat().st_mode for path in (tmp_path / "batch").iterdir()}
    assert set(written) == {"000-target-0-0.json", "000-target-0-0.sh"}
    assert all(not mode & 0o022 for mode in written.values())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    done = submit(tmp_path / "file", msgspec.json.encode(job()) + b"\n")
    assert done.returncode == 1
    assert b"--work" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_runner_nothing_is_submitted(tmp_path):
    assert submit(tmp_path / "batch", b"").returncode == 143
    assert not (tmp_path / "batch").exists()


def test_a_run_says_at_once_that_its_scheduler_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.run.resolve._library_under", lambda _: OPEN_MPI)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_command(["run", "quick", "--launcher", "sbatch", "-o", str(tmp_path)]) == 4
    assert "sbatch was not found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pbs_hands_a_job_what_steers_its_ranks_but_not_the_folders_of_this_host(monkeypatch):
    monkeypatch.setenv("UCX_NET_DEVICES", "mlx5_0:1")
    monkeypatch.setenv("UCX_TLS", "rc")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/here/only")
    script = pbs(site=Site(environment={"UCX_TLS": "tcp"})).script(job())
    assert "export UCX_NET_DEVICES=mlx5_0:1" in script
    assert "export UCX_TLS=tcp" in script
    assert "-x UCX_NET_DEVICES" in script
    assert "/here/only" not in script


@pytest.mark.skipif(shutil.which("qsub") is None, reason="no PBS; there is no qsub here")
def test_pbs_takes_the_script(tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(pbs(folder=tmp_path).script(job()))
    command = [*Pbs().submit_command(str(script)), "-h"]
    number = Pbs().number(subprocess.run(command, capture_output=True, text=True).stdout)
    assert number is not None
    asked = subprocess.run(Pbs().ask_command(number), capture_output=True, text=True)
    assert Pbs().standing(asked.returncode, asked.stdout, asked.stderr).phase is Phase.QUEUED
    assert subprocess.run(Pbs().cancel_command(number)).returncode == 0


def test_an_unknown_launcher_is_answered_with_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'sbatch'"):
        find_launcher("sbtach")
