"""Known causes: their words are found wherever they stand, and a launcher that waits is ended."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from begun import begun, begun_plan

from bench.contracts import LaunchCommand
from bench.core.events import CaseEnded, CaseStarted, Done, Hello, encode
from bench.core.records import Case, Job, Stage, Status
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.predict.fit import predict_targets
from bench.run import cause as cause_module
from bench.run import loss as loss_module
from bench.run.attempt import Attempt
from bench.run.cause import Follower, Said, Why, find_cause
from bench.run.causes import Cause, load_causes
from bench.run.deadline import START_DEADLINE_S
from bench.run.runner import Runner
from bench.run.settings import Settings
from bench.store.folder import open_run
from bench.store.recorder import Recorder

ROOT = Path(__file__).parent.parent
CAUSES = load_causes().cause
FIELD = re.compile(r"\{([^}.]+)(\.\.\.)?\}")
NOTHING = Settings({}, None, None)
ENDS = next(cause for cause in CAUSES if cause.ends and cause.start)


def words_of(cause: Cause) -> str:
    """Return a text as a program prints it, every name of it a word of its own."""
    said = FIELD.sub(lambda field: f"x{field[1]}x" + " more" * bool(field[2]), cause.says)
    return said + "\n\n" + "".join(f"  {label}:   x{label}x\n" for label in cause.reads)


def explain(folder: Path, text: str, *, spoke: bool = False, settings: Settings = NOTHING) -> Why:
    log = folder / "log"
    log.write_text(text)
    return find_cause(log, Said(), spoke, settings)


def named_by(cause: Cause) -> set[str]:
    return {field[1] for field in FIELD.finditer(cause.says)} | set(cause.reads)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.says[:40])
def test_a_cause_names_only_what_its_words_do(cause):
    used = "".join((cause.means, cause.next, *cause.setting))
    assert {field[1] for field in FIELD.finditer(used)} <= named_by(cause)
    assert len(cause.anchor.strip()) > 4
    # A line that is broken anywhere is found, a run of blanks is not.
    assert "  " not in cause.says


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.says[:40])
@pytest.mark.parametrize("before", [0, (1 << 20) - 100, (1 << 20) + 5000])
def test_its_words_are_found_wherever_they_stand(cause, before, tmp_path):
    lines = "w" * 59 + "\n"
    text = (lines * (before // 60 + 1))[:before] + "\n" + words_of(cause) + lines * 300
    expected = FIELD.sub(
        lambda field: f"x{field[1]}x" if field[1] != "signal" else "", cause.means
    ).partition("x.")[0]
    why = explain(tmp_path, text)
    assert why.known
    assert expected.partition("ended by")[0].strip() in why.text.replace(" more", "")
    assert why.lasting is cause.lasting


def test_help_texts_are_read_behind_the_number_of_a_rank(tmp_path):
    text = (
        "[1,0]<stderr>:A requested component was not found, or was unable to be opened.  This\n"
        "[1,0]<stderr>:Host:      n1\n[1,0]<stderr>:Framework: pml\n[1,0]<stderr>:Component: ucx\n"
    )
    assert "no component ucx of framework pml on n1" in explain(tmp_path, text).text


def test_what_another_text_names_is_not_taken_for_its_own(tmp_path):
    text = (
        "A requested component was not found, or was unable to be opened.\nHost: n1\n"
        + "-" * 76
        + "\nanother text\nFramework: pml\nComponent: x\n"
    )
    assert "component (not named) of framework (not named) on n1" in explain(tmp_path, text).text


def test_once_a_rank_has_spoken_words_of_the_start_were_a_warning(tmp_path):
    text = words_of(CAUSES[0]) + "\nlast line\n"
    assert explain(tmp_path, text, spoke=True) == Why("last line")
    assert explain(tmp_path, f"{text}rank 1 on n1: Oops: x\n").text == "rank 1 on n1: Oops: x"


def test_the_system_s_words_in_a_message_of_a_rank_are_explained(tmp_path):
    why = explain(tmp_path, "rank 1 on n1: OSError: [Errno 24] Too many open files: '/x'\n")
    assert why.text.startswith("rank 1 on n1: OSError: [Errno 24] Too many open files: '/x': the")
    assert "ulimit -n" in why.text


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\u202e", "x" * 5000, "{0}", "{host.__class__}"])
def test_what_a_text_names_is_printed_escaped_and_short(hostile, tmp_path):
    text = "A requested component was not found, or was unable to be opened.\n" + "".join(
        f"{label}: {hostile}\n" for label in ("Host", "Framework", "Component")
    )
    told = explain(tmp_path, text).text
    assert told.isprintable()
    assert len(told) < 1000


def seconds_to_search(folder: Path, text: bytes) -> float:
    (folder / "log").write_bytes(text)
    times = []
    for _ in range(3):
        begin = time.process_time()
        find_cause(folder / "log", Said(), False, NOTHING)
        times.append(time.process_time() - begin)
    return min(times)


@pytest.mark.parametrize("cause", [c for c in CAUSES if "{" in c.says], ids=lambda c: c.says[:40])
def test_a_log_that_begins_its_words_again_and_again_costs_no_more_than_its_length(cause, tmp_path):
    piece = cause.anchor * (1 + 4096 // len(cause.anchor))
    short, long = seconds_to_search(tmp_path, piece * 64), seconds_to_search(tmp_path, piece * 256)
    assert long < 10 * short + 0.1


# Settings.


def test_a_setting_is_named_where_it_is_set(tmp_path):
    (tmp_path / ".openmpi").mkdir()
    (tmp_path / ".openmpi" / "mca-params.conf").write_text("# mine\nbtl = self\n\npml=ob1\n")
    text = words_of(next(cause for cause in CAUSES if "pair of MPI" in cause.says))
    told = explain(tmp_path, text, settings=Settings({"HOME": str(tmp_path)}, "Open MPI", None))
    assert "btl=self, pml=ob1 are set in ~/.openmpi/mca-params.conf: take them out" in told.text
    environ = {"OMPI_MCA_btl": "self", "UCX_TLS": "tcp", "OMPI_MCA_TOKEN": "x"}
    told = explain(tmp_path, text, settings=Settings(environ, "Open MPI", None))
    assert told.text.endswith("; OMPI_MCA_btl=self is set in the environment: unset it")


@pytest.mark.parametrize(
    ("mpi", "named"), [("Open MPI", "OMPI_MCA_x=1"), ("MPICH", "MPIR_CVAR_X=2"), (None, "UCX_TLS")]
)
def test_a_start_that_fails_for_no_known_reason_names_all_settings_of_its_mpi(mpi, named, tmp_path):
    environ = {"OMPI_MCA_x": "1", "MPIR_CVAR_X": "2", "UCX_TLS": "rc", "HOME": "/nowhere"}
    told = explain(tmp_path, "it broke\n", settings=Settings(environ, mpi, None))
    assert told.text.startswith("it broke; ")
    assert named in told.text
    assert ("MPIR_CVAR_X" in told.text) is (mpi != "Open MPI")
    assert ("OMPI_MCA_x" in told.text) is (mpi != "MPICH")
    spoken = explain(tmp_path, "it broke\n", spoke=True, settings=Settings(environ, mpi, None))
    assert spoken.text == "it broke"


# A log that grows.


def test_a_log_is_followed_a_bounded_piece_at_a_look(tmp_path, monkeypatch):
    monkeypatch.setattr(cause_module, "MOST_FOLLOWED", 1 << 12)
    log = tmp_path / "log"
    log.write_text(words_of(ENDS))  # of an earlier start
    follower = Follower(log)
    with log.open("a") as file:
        file.write("warning\n" * 4000 + words_of(ENDS))
    looks = 0
    while not follower.ended and looks < 100:
        follower.look(spoke=False)
        looks += 1
    assert 8000 // (1 << 12) < looks < 100


def test_words_that_come_in_two_pieces_are_found(tmp_path):
    log = tmp_path / "log"
    log.touch()
    follower = Follower(log)
    text = words_of(ENDS)
    for piece in (text[:9], text[9:]):
        with log.open("a") as file:
            file.write(piece)
        follower.look(spoke=False)
    assert follower.ended


def test_warnings_of_a_start_end_nothing():
    harmless = ("component was not found", "not enough space", "invalid value was given")
    for words in harmless:
        assert not any(cause.ends for cause in CAUSES if words in cause.says)


# A launcher that waits.


CASE = Case("latency/bytes=8", "latency", {"bytes": 8})
JOB = Job("000-target-0", Stage.TARGET, 0, 2, 1, (CASE,))


class Quiet:
    """Listens to nothing."""

    def queued(self, event: object) -> None: ...
    def facts_known(self, attempt: object) -> None: ...
    def case_started(self, attempt: object) -> None: ...
    def case_ended(self, attempt: object, case: object, ended: object) -> None: ...
    def waiting(self) -> None: ...


def run_program(folder: Path, program: str) -> tuple[str | None, float]:
    """Run a job whose launcher is a program; return why it ended, and after how many seconds."""
    attempt = Attempt(JOB, Recorder(begun(folder, [JOB])), Quiet(), {})
    begin_s = time.monotonic()
    reason = attempt.execute(LaunchCommand((sys.executable, "-c", program), {}))
    return reason, time.monotonic() - begin_s


SAY = "import sys, time, subprocess, os\nsay = lambda t: print(t, file=sys.stderr, flush=True)\n"
EVENT = (
    "def send(line): sys.stdout.buffer.write(line); sys.stdout.flush()\n"
    f"hello, begin = {encode(Hello('j', 1, '0', 2))!r}, {encode(CaseStarted(CASE.id))!r}\n"
)


def test_a_launcher_that_waits_after_mpi_gave_up_is_ended(tmp_path):
    reason, took_s = run_program(tmp_path, f"{SAY}say({words_of(ENDS)!r})\ntime.sleep(600)")
    assert reason is not None
    assert reason.startswith("MPI gave up and its launcher did not end: ")
    assert took_s < START_DEADLINE_S / 2


def test_a_launcher_whose_ranks_have_all_ended_is_ended(tmp_path):
    ends = "import sys, time; time.sleep(1.5); sys.exit('rank 1 on n1: Oops: x')"
    rank = [sys.executable, "-c", ends, "bench.rank"]
    program = f"{SAY}{EVENT}subprocess.Popen({rank!r}).wait()\ntime.sleep(600)"
    reason, took_s = run_program(tmp_path, program)
    assert reason == "the ranks had ended and their launcher had not: rank 1 on n1: Oops: x"
    assert took_s < START_DEADLINE_S / 2


def test_a_launcher_with_a_rank_that_lives_is_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.attempt.START_DEADLINE_S", 8.0)
    sleeps = [f"import time; time.sleep({seconds})" for seconds in (1, 600)]
    ranks = [[sys.executable, "-c", sleep, "bench.rank"] for sleep in sleeps]
    program = (
        f"{SAY}ranks = [subprocess.Popen(rank) for rank in {ranks!r}]\n"
        "try: time.sleep(600)\nfinally: [rank.kill() for rank in ranks]"
    )
    reason, _ = run_program(tmp_path, program)
    assert reason == "no sign of life for 8 s in start-up: no rank has reported yet"


def test_a_child_that_only_has_the_command_of_ranks_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.attempt.START_DEADLINE_S", 6.0)
    child = ["sh", "-c", "sleep 2; true", "bench.rank"]  # As srun's own, while the job waits.
    program = f"{SAY}subprocess.Popen({child!r}).wait()\ntime.sleep(600)"
    reason, _ = run_program(tmp_path, program)
    assert reason == "no sign of life for 6 s in start-up: no rank has reported yet"


def test_a_job_that_goes_on_after_such_words_is_let_be(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_module, "START_GRACE_S", 1.0)
    monkeypatch.setattr(loss_module, "GRACE_S", 2.0)
    words = words_of(next(cause for cause in CAUSES if cause.ends and not cause.start))
    ended = encode(CaseEnded(case=CASE.id, status=Status.SKIPPED, reason="x"))
    program = (
        f"{SAY}{EVENT}send(hello)\nsay({words!r})\n"
        "for _ in range(5): time.sleep(0.6); send(begin)\n"
        # Longer than the grace, without a sign.
        f"time.sleep(4)\nsend({ended!r})\nsend({encode(Done('j'))!r})"
    )
    reason, _ = run_program(tmp_path, program)
    assert reason is None


def test_a_start_whose_warnings_look_bad_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_module, "START_GRACE_S", 1.0)
    words = "".join(words_of(cause) for cause in CAUSES if not cause.ends)
    ended = encode(CaseEnded(case=CASE.id, status=Status.SKIPPED, reason="x"))
    program = (
        f"{SAY}{EVENT}say({words!r})\ntime.sleep(3)\nsend(hello)\nsend(begin)\nsend({ended!r})"
    )
    reason, _ = run_program(tmp_path, program)
    assert reason is None


# Signals, by the fault itself.


FAULTS = {
    "SIGBUS": "import mmap; f = open(sys.argv[1], 'w+b'); f.truncate(4096);"
    "m = mmap.mmap(f.fileno(), 4096); f.truncate(0); m[0]",
    "SIGXFSZ": "import signal, resource; signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8)); open(sys.argv[1], 'w').write('x' * 99)",
    "SIGXCPU": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 9))\nwhile True: pass",
    "SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "SIGABRT": "import os; os.abort()",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
}
MEANS = {
    "SIGBUS": "shared memory ran out (/dev/shm holds ",
    "SIGXFSZ": "a file grew over the limit of this shell",
    "SIGXCPU": "the limit of CPU time",
    "SIGSEGV": "ulimit -s",
    "SIGABRT": "gave up",
    "SIGKILL": "memory ran out",
}


def fault(name: str, folder: Path) -> str:
    """Return a program that ends by a signal, and dumps no core."""
    quiet = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
    return f"import sys; sys.argv = ['', {str(folder / 'file')!r}]; {quiet}{FAULTS[name]}"


@pytest.mark.parametrize("name", FAULTS)
def test_a_job_that_a_signal_ended_says_what_that_mostly_means(name, tmp_path):
    reason, _ = run_program(tmp_path / "run", fault(name, tmp_path))
    assert reason is not None
    assert re.match(rf"the job was killed by signal \d+ \({name}\): ", reason)
    assert MEANS[name] in reason


class Sinks:
    """A launcher whose first job finds no shared memory in its second case."""

    name = "sinks"
    most_ranks = None
    reaches_hosts = False
    nodes = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, _ranks: int) -> None:
        """Nobody knows where."""

    def command(self, job: Job) -> LaunchCommand:
        skip = [
            encode(CaseStarted(case.id))
            + encode(CaseEnded(case=case.id, status=Status.SKIPPED, reason="x"))
            for case in job.cases
        ]
        told = (
            skip[0] + encode(CaseStarted(job.cases[1].id)) if job.attempt == 0 else b"".join(skip)
        )
        rest = fault("SIGBUS", self._folder) if job.attempt == 0 else ""
        say = f"import sys; sys.stdout.buffer.write({told!r}); sys.stdout.flush()\n"
        return LaunchCommand((sys.executable, "-c", say + rest), {})


def test_a_rank_that_shared_memory_ends_costs_one_row(tmp_path):
    text = (
        '[suite]\nname = "x"\n[[benchmark]]\nname = "latency"\nbytes = ["8 B", "1 KiB", "1 MiB"]\n'
    )
    plan = make_plan(parse_suite(text, "x"))
    recorder = Recorder(begun_plan(tmp_path / "run", plan))
    Runner(plan, Sinks(tmp_path), recorder, NoProgress(), predict_targets).run()
    recorder.end("complete")
    recorder.finish()
    rows = open_run(tmp_path / "run").rows()
    (failed,) = (row for row in rows if row.status is Status.FAILED)
    assert "signal 7 (SIGBUS): shared memory ran out (/dev/shm holds" in (failed.reason or "")
    assert [row.reason for row in rows if row is not failed] == ["x", "x"]


class NoProgress:
    """Shows nothing."""

    def queued(self, where: str) -> None: ...
    def started(self, case: Case, left_s: float) -> None: ...
    def ended(self, rows: object) -> None: ...
    def waiting(self, left_s: float) -> None: ...
    def show(self, line: str) -> None: ...
    def close(self) -> None: ...


# The page.


def test_the_page_of_causes_is_up_to_date():
    script = ROOT / "scripts" / "list-causes"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "when-it-fails.md").read_text(encoding="utf-8")
    assert all(word in made.stdout for word in ("SIGBUS", "`ulimit -n`", "Hydra"))
