"""Odd machines and environments: each situation is made, and a small run goes through it."""

import json
import os
import platform
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import bench
from bench.core.program import module_command, shun_current_folder, text_command
from bench.core.records import Row, Status, parse_params
from bench.machine.mpi import find_mpi
from bench.machine.shared_memory import try_cross_attach
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run

PACKAGE = Path(bench.__file__).parent
CLUSTERBENCH = Path(sys.prefix) / "bin" / "clusterbench"
LIMIT_S = 600
"""A guard against what hangs, and no claim."""

ONE = '[suite]\nname = "odd"\ncap_s = 0.02\n[[benchmark]]\nname = "latency"\nbytes = 8\n'
SIX = """
[suite]
name = "odd"
cap_s = 0.05
[[benchmark]]
name = "latency"
bytes = ["8 B", "4 KiB"]
[[benchmark]]
name = "bandwidth"
bytes = ["8 B", "64 KiB"]
[[benchmark]]
name = "allreduce"
bytes = ["8 B", "64 KiB"]
"""
COPY = '[suite]\nname = "odd"\ncap_s = 0.01\n[[benchmark]]\nname = "memcpy"\nbytes = 64\n'
LOCAL = ("--launcher", "local")

mpi = pytest.mark.mpi
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def tokens(suite: Path, *more: str) -> list[str]:
    return [str(CLUSTERBENCH), "run", str(suite), "--no-report", *more]


def run(
    folder: Path,
    text: str,
    *more: str,
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    code: int = 0,
) -> tuple[RunFolder, str]:
    """Run a suite as somebody does from a shell; return its folder, and what it complained of."""
    suite = folder / "odd.toml"
    suite.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*before, *tokens(suite, "-o", str(folder / "out"), *more)],
        cwd=cwd or folder,
        env=None if env is None else {**os.environ, **env},
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )
    out, said = done.stdout.decode(), done.stderr.decode(errors="replace")
    assert done.returncode == code, said
    assert "Traceback" not in said
    return open_run(Path(out.splitlines()[-1])), said


def rows_of(run: RunFolder, count: int) -> list[Row]:
    """Return the rows, all of which are measured."""
    rows = run.rows()
    assert [(row.status, row.reason) for row in rows] == [(Status.OK, None)] * count
    assert not run.missing()
    return rows


def names(run: RunFolder) -> set[str]:
    return {finding.name for finding in run.findings}


# One CPU.


def rank_cpus(run: RunFolder) -> list[list[int]]:
    """Return the logical CPUs of each rank of each job."""
    lines = (run.path / JOURNAL_FILE).read_text(encoding="utf-8").splitlines()
    events = [json.loads(line).get("event", {}) for line in lines]
    return [
        rank["cores"] for event in events if event.get("type") == "facts" for rank in event["ranks"]
    ]


@mpi
def test_two_ranks_on_one_cpu_are_measured_and_flagged(tmp_path):
    cpu = max(os.sched_getaffinity(0))
    done, _ = run(tmp_path, SIX, before=("taskset", "-c", str(cpu)))
    rows = rows_of(done, 6)
    assert {parse_params(row.params).get("oversubscribed") for row in rows} == {"1"}
    assert {"oversubscribed", "shared-core", "few-cores"} <= names(done)
    assert {tuple(cpus) for cpus in rank_cpus(done)} == {(cpu,)}
    # A rank of Open MPI that waits gives way: in its slice of time thousands of messages pass.
    found = find_mpi()
    for command in done.commands:
        told = "mpi_yield_when_idle" in command.tokens
        assert told == (found is not None and found.family == "openmpi")


@mpi
def test_a_rank_stays_inside_the_mask_of_who_started_it(tmp_path):
    cpu = max(os.sched_getaffinity(0))
    done, _ = run(tmp_path, COPY, "-n", "1", before=("taskset", "-c", str(cpu)))
    rows_of(done, 1)
    assert rank_cpus(done) == [[cpu]]


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A cgroup that grants half a core."""
    base = Path("/sys/fs/cgroup")
    name = f"clusterbench-odd-{os.getpid()}"
    limits = {"cpu.max": "50000 100000"}
    if not (base / "cgroup.controllers").exists():
        base, limits = base / "cpu", {"cpu.cfs_quota_us": "50000"}
    folder = base / name
    try:
        folder.mkdir()
        for file, value in limits.items():
            (folder / file).write_text(value)
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    yield folder
    end_s = time.monotonic() + 10
    while (folder / "cgroup.procs").read_text().split() and time.monotonic() < end_s:
        time.sleep(0.1)
    folder.rmdir()


@mpi
@root
def test_a_quota_of_half_a_core_is_named_and_flagged(tmp_path, half_a_core):
    enter = f'echo $$ > {half_a_core}/cgroup.procs && exec "$@"'
    done, _ = run(tmp_path, ONE, before=("sh", "-c", enter, "sh"))
    (row,) = rows_of(done, 1)
    assert parse_params(row.params)["oversubscribed"] == "1"
    assert {"oversubscribed", "cpu-quota"} <= names(done)
    (node,) = done.nodes.facts.values()
    assert node["cpu"]["quota_cores"] == 0.5


# The current folder, and what runs in Python's start.


def test_every_python_is_started_without_the_current_folder():
    """Tokens that start one are made in one file, but for programs in isolated mode."""
    starts = re.compile(r"""["'](-m|-c)["']""")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if starts.search(line) and '"-I"' not in line and path.name != "program.py"
    ]
    assert found == []
    for command in (module_command("bench.rank"), text_command("pass")):
        assert command[:2] == (sys.executable, "-P")


SHADOWS = ("numpy.py", "random.py", "csv.py", "msgspec.py", "numba.py", "mpi4py/__init__.py")


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """A folder in which somebody works whose files have the names of libraries."""
    for name in SHADOWS:
        file = tmp_path / "work" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"raise ImportError('{name} of the current folder')\n")
    return tmp_path / "work"


@mpi
def test_nothing_is_imported_from_the_current_folder(tmp_path, shadows):
    """Somebody's own modules, chatter in Python's start, and Python's own switches at once."""
    customs = tmp_path / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text("print('hello from sitecustomize')\n")
    env = {
        # An empty entry is the current folder too.
        "PYTHONPATH": f":{customs}:",
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "error",
        "LD_PRELOAD": "/nonexistent.so",
        "TZ": "nosuch",
    }
    done, _ = run(tmp_path, ONE, env=env, cwd=shadows)
    rows_of(done, 1)


def test_an_empty_entry_of_a_path_names_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/lib/python"])
    monkeypatch.setenv("PYTHONPATH", ":/opt/x:")
    shun_current_folder()
    assert (os.environ["PYTHONPATH"], sys.path) == ("/opt/x", ["/lib/python"])
    # Who names the folder means it.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    shun_current_folder()
    assert sys.path == [str(tmp_path)]
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(PACKAGE.parent)
    monkeypatch.setattr(sys, "path", [str(PACKAGE.parent)])
    shun_current_folder()
    assert "PYTHONPATH" not in os.environ
    assert sys.path == [str(PACKAGE.parent)]


def test_the_program_itself_is_run_without_the_current_folder(shadows):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "list"], cwd=shadows, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_python_that_ends_in_its_start_is_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'bench.rank' in sys.orig_argv: raise SystemExit(3)\n"
    )
    done, said = run(tmp_path, COPY, *LOCAL, env={"PYTHONPATH": str(tmp_path)}, code=4)
    (row,) = done.rows()
    assert row.status is Status.FAILED
    assert "SystemExit: 3" in (row.reason or "")
    assert "SystemExit: 3" in said


# Who reads, and who writes.


@mpi
def test_nobody_s_standard_input_is_eaten_and_chatter_is_no_result(tmp_path):
    """A loop over lines of a file, and MPI, its runtime and UCX that say all they can."""
    suite = tmp_path / "odd.toml"
    suite.write_text(ONE)
    command = shlex.join(tokens(suite, "-o", str(tmp_path / "out")))
    loop = f"read first; {command} > ran; echo $first; cat"
    talk = {
        "DISPLAY": ":0",
        "XAUTHORITY": "/dev/null",
        "OMPI_MCA_btl_base_verbose": "100",
        "PRTE_MCA_plm_base_verbose": "5",
        "UCX_LOG_LEVEL": "info",
        "MPICH_DBG": "1",
        "I_MPI_DEBUG": "5",
        "MPIR_CVAR_DEBUG_SUMMARY": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        ["sh", "-c", loop],
        input=b"a\nb\nc\n",
        cwd=tmp_path,
        env={**os.environ, **talk},
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.stdout.split() == [b"a", b"b", b"c"], done.stderr.decode()[-2000:]
    folder = open_run(Path((tmp_path / "ran").read_text().splitlines()[-1]))
    rows_of(folder, 1)
    assert "mpi-setting" in names(folder)
    assert any(path.stat().st_size for path in (folder.path / "logs").iterdir())


@mpi
def test_with_next_to_no_environment_and_no_standard_input_a_run_is_the_same(tmp_path):
    """As cron starts it, below /, with input closed, and nobody's variables."""
    suite = tmp_path / "odd.toml"
    suite.write_text(ONE)
    command = shlex.join(tokens(suite, "-o", str(tmp_path / "out")))
    done = subprocess.run(
        ["setsid", "env", "-i", "SHELL=/bin/sh", "sh", "-c", f"cd / && {command} <&-"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    rows_of(open_run(Path(done.stdout.splitlines()[-1])), 1)


def test_in_the_background_of_a_terminal_a_run_is_not_stopped(tmp_path):
    suite = tmp_path / "odd.toml"
    suite.write_text(COPY)
    command = shlex.join(tokens(suite, "-o", str(tmp_path / "out"), *LOCAL))
    pid, terminal = pty.fork()
    if pid == 0:
        # With job control: what is in the background and reads its terminal is stopped.
        text = f"set -m; {command} & wait $!"
        os.execlp("bash", "bash", "-c", text)  # noqa: S606 - it is one
    said = b""
    with os.fdopen(terminal, "rb", buffering=0) as output:
        try:
            while data := output.read(4096):
                said += data
        except OSError:
            pass  # the other end is closed
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said.decode(errors="replace")
    rows_of(open_run(next((tmp_path / "out").glob("*-odd-*"))), 1)


def test_failed_rows_show_in_the_exit_status_whoever_reads(tmp_path):
    """`head` goes after a line: of results, and of complaints with them."""
    suite = tmp_path / "odd.toml"
    suite.write_text(COPY)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'bench.rank' in sys.orig_argv: raise SystemExit(3)\n"
    )
    command = shlex.join(tokens(suite, "-o", str(tmp_path / "out"), *LOCAL))
    for trap, pipe in (
        ("", "| head -n 1"),
        ("", "2>&1 | head -c 1"),
        ("trap '' PIPE; ", "2>&1 | true"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{trap}{command} {pipe}; exit ${{PIPESTATUS[0]}}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == 4, (pipe, trap, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("locale", "flags"),
    [
        ({"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}, ("--label", "größe")),
        ({"LC_ALL": "de_DE.UTF-8", "LC_NUMERIC": "de_DE.UTF-8"}, ("--no-report", "--json")),
        # A word that is typed there is none in UTF-8, and refused; folders have any name.
        (
            {"LC_ALL": "C.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            ("--no-report",),
        ),
    ],
)
def test_files_are_the_same_in_every_locale(locale, flags, tmp_path):
    folder = tmp_path / "ü"
    folder.mkdir()
    (folder / "odd.toml").write_text(COPY.replace('"odd"', '"odd"  # ü'), encoding="utf-8")
    done = subprocess.run(
        [str(CLUSTERBENCH), "run", "./odd.toml", "-o", "out", *LOCAL, *flags],
        cwd=folder,
        env={**os.environ, **locale},
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "UnicodeEncodeError" not in said
    found = open_run(next((folder / "out").glob("*-odd-*")))
    rows_of(found, 1)
    assert found.meta.measured.flags.get("label") == ("größe" if "--label" in flags else None)
    if "--no-report" not in flags:
        assert "größe" in (found.path / "report.html").read_text(encoding="utf-8")


# Paths.


@mpi
def test_paths_of_any_kind_are_paths(tmp_path):
    folder = tmp_path / "a b\nc" / "-x" / "ü#%$;&,'\"<b>"
    folder.mkdir(parents=True)
    (folder / "-rf.toml").write_text(ONE)
    done = subprocess.run(
        [str(CLUSTERBENCH), "run", "./-rf.toml", "-o", "-o,\"'<i>"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = open_run(next((folder / "-o,\"'<i>").glob("*-odd-*")))
    rows_of(found, 1)
    page = (found.path / "report.html").read_text(encoding="utf-8")
    assert "<i>/" not in page
    assert "<b>/" not in page


@mpi
@pytest.mark.parametrize(("parent", "code"), [("{}/out", 0), ("out", 2)])
def test_a_current_folder_that_is_gone_is_one_line_or_no_matter(parent, code, tmp_path):
    gone = tmp_path / "gone"
    suite = tmp_path / "odd.toml"
    suite.write_text(ONE)
    command = shlex.join(tokens(suite, "-o", parent.format(tmp_path)))
    done = subprocess.run(
        ["sh", "-c", f"mkdir {gone} && cd {gone} && rmdir {gone} && {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 0:
        rows_of(open_run(Path(done.stdout.splitlines()[-1])), 1)


# A rank that stands still.

SAMPLING = """
import time
from types import SimpleNamespace as Of
import bench.rank.active as active
from bench.core.records import Sampling
from bench.rank.world import SoloWorld

def run(seconds, loops):
    for at in range(len(seconds)):
        begin_s = time.perf_counter()
        while time.perf_counter() < begin_s + 0.02:
            pass
        seconds[at] = (time.perf_counter() - begin_s) / loops
    print("sampled", flush=True)

task = Of(measurement=Of(rank_agg="rank0", tolerance=0.0), rule=Sampling(0.2, 0.01, 0.02))
context = Of(clock=time.perf_counter, own_cores=True)
best = active._sample_undisturbed(run, Of(params={}), task, SoloWorld(), context)
print(best.passes, max(best.sampled.seconds) * best.sampled.loops)
"""
"""Samples for about a fifth of a second, and as often as it takes."""


def test_time_in_which_a_rank_stands_still_is_no_sample():
    with subprocess.Popen(text_command(SAMPLING), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):  # past the warm-up
            assert process.stdout.readline() == "sampled\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(STILL_S)
        os.kill(process.pid, signal.SIGCONT)
        last = process.communicate(timeout=LIMIT_S)[0].splitlines()[-1]
    passes, longest_s = last.split()
    assert int(passes) >= 2
    assert float(longest_s) < STILL_S / 2


STILL_S = 2.0


# What is not there.


NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""Somebody whose number stands in no file of users."""


@mpi
def test_neither_home_nor_cache_nor_a_name_nor_sane_variables_are_needed(tmp_path):
    """Variables of a scheduler that is not here, of threads, and of places that take nothing."""
    env = {
        "HOME": "/proc/nobody",
        "XDG_CACHE_HOME": "/proc/x",
        "NUMBA_CACHE_DIR": "/proc/x",
        "MPLCONFIGDIR": "/proc/x",
        "OMP_NUM_THREADS": "abc",
        "SLURM_JOB_ID": "1",
        "SLURM_NTASKS": "1",
        "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
        "SOURCE_DATE_EPOCH": "0",
    }
    can = subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0
    done, _ = run(tmp_path, ONE, env=env, before=NOBODY if can else ())
    (row,) = rows_of(done, 1)
    assert row.timing_layer == "numba"


# Cross-memory attach.

SYSTEM_CALLS = {"x86_64": (310, 311), "aarch64": (270, 271)}
"""process_vm_readv and process_vm_writev."""
FORBID = """
import ctypes, os, struct, sys
library = ctypes.CDLL(None, use_errno=True)
calls = [int(number) for number in sys.argv[1].split(",")]
# Load the number of the system call; EPERM where it is one of ours, else allow.
steps = [(0x20, 0, 0, 0)]
steps += [(0x15, len(calls) - at, 0, number) for at, number in enumerate(calls)]
steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]
text = b"".join(struct.pack("HBBI", *step) for step in steps)
program = ctypes.create_string_buffer(text, len(text))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
given = Filter(len(steps), ctypes.addressof(program))
assert library.prctl(38, 1, 0, 0, 0) == 0
assert library.prctl(22, 2, ctypes.byref(given), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Runs a program under a filter of system calls, as a container's runtime does."""


@mpi
@pytest.mark.skipif(platform.machine() not in SYSTEM_CALLS, reason="numbers of system calls")
def test_where_ranks_may_not_read_each_other_the_run_says_so(tmp_path):
    numbers = ",".join(map(str, SYSTEM_CALLS[platform.machine()]))
    text = ONE.replace('"latency"\nbytes = 8', '"bandwidth"\nbytes = "1 MiB"')
    done, _ = run(tmp_path, text, before=(sys.executable, "-I", "-c", FORBID, numbers))
    rows_of(done, 1)
    (node,) = done.nodes.facts.values()
    assert node["shared_memory"]["cross_attach"] == "refused: EPERM"
    assert "cross-attach" in names(done)
    # Without the filter this machine has another fact, which tells two runs apart.
    assert try_cross_attach() == "possible"
