"""The first minutes on a GPU: no step ends the script, and each is an answer."""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from simulated_cuda import simulate
from simulated_cuda.kernels import SimulatedKernel

from bench.rank.memory.stream_timer import LEAST_SAMPLE, MOST_QUEUED

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from firstgpu import faults, fixed_cost, gpu, gpu_tests, libraries, recipe, sanitizer  # noqa: E402
from firstgpu.answer import Answer, Outcome, read_answer  # noqa: E402
from firstgpu.fixed_cost import Line, fit_line, sample  # noqa: E402
from firstgpu.libraries import Compared  # noqa: E402
from firstgpu.page import make_page  # noqa: E402
from firstgpu.steps import STEPS, Step  # noqa: E402
from firstgpu.supervise import Asked, ask_step, environment  # noqa: E402
from firstgpu.take_step import take  # noqa: E402
from firstgpu.wheels import place_of, unpack  # noqa: E402


@pytest.fixture
def steps(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which these steps stand beside the real ones."""
    folder = tmp_path / "scripts" / "firstgpu"
    folder.mkdir(parents=True)
    for path in (ROOT / "scripts" / "firstgpu").glob("*.py"):
        (folder / path.name).symlink_to(path)
    bodies = {
        "hangs": "import subprocess, time\nprint('begun', flush=True)\n"
        "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)\n"
        "def ask(folder): time.sleep(600)\n",
        "raises": "def ask(folder): raise ValueError('odd <b>')\n",
        "dies": "import os, signal\ndef ask(folder): os.kill(os.getpid(), signal.SIGSEGV)\n",
        "slow": "import time\nfrom firstgpu.answer import keep_so_far\n"
        "def ask(folder):\n"
        "    keep_so_far(folder, [], 'so', [['a'], ['1']])\n"
        "    time.sleep(600)\n",
        "broken": "from firstgpu.answer import keep_so_far\n"
        "def ask(folder):\n"
        "    keep_so_far(folder, [], 'so', [['a'], ['1']])\n"
        "    raise ValueError('odd')\n",
        # What it runs does not end when it is asked to, as a run whose ranks hang.
        "inner": "import subprocess, sys\nfrom firstgpu import deadline, rows\n"
        "deadline.CLOSING_S, rows._ENDING_S = 26.5, 0.5\n"
        "from firstgpu.answer import judge\n"
        "body = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'\n"
        "def ask(folder):\n"
        "    process = subprocess.Popen([sys.executable, '-c', body])\n"
        "    rows.end_in_time(process)\n"
        "    return judge([], f'ended with {process.returncode}', 'so', [])\n",
    }
    for name, body in bodies.items():
        (folder / f"{name}.py").write_text(body)
    env = environment(ROOT, tmp_path / "site")
    return {**env, "PYTHONPATH": f"{tmp_path / 'scripts'}:{ROOT}"}


def ask(name: str, folder: Path, env: dict[str, str], limit_s: float = 60.0) -> Asked:
    return ask_step(Step(name, "?", limit_s), folder / name, limit_s, sys.executable, env)


def test_a_step_that_hangs_is_ended_with_what_it_has_started(tmp_path, steps):
    asked = ask("hangs", tmp_path, steps, limit_s=8.0)
    assert asked.answer.outcome is Outcome.WRONG
    assert "not over after 8 s: begun" in asked.answer.came
    child = int((tmp_path / "hangs" / "log.txt").read_text().split()[1])
    assert has_ended(child)


def test_what_a_step_has_found_outlives_its_end(tmp_path, steps):
    slow = ask("slow", tmp_path, steps, limit_s=4.0)
    assert slow.answer.outcome is Outcome.CUT
    assert slow.answer.came == "not over after 4 s; 1 figures so far"
    assert slow.answer.table == [["a"], ["1"]]
    broken = ask("broken", tmp_path, steps)
    assert (broken.answer.outcome, broken.answer.came) == (Outcome.WRONG, "ValueError: odd")
    assert broken.answer.table == [["a"], ["1"]]
    page = make_page([], [slow, broken])
    assert "2 questions, 1 with a wrong answer, 1 not finished, 0 not asked" in page


def test_a_step_ends_what_it_runs_before_its_own_time_is_up(tmp_path, steps):
    inner = ask("inner", tmp_path, steps, limit_s=30.0)
    assert (inner.answer.outcome, inner.answer.came) == (Outcome.RIGHT, "ended with -9")
    assert inner.took_s < 20


def has_ended(pid: int) -> bool:
    """Return whether a process ends within some seconds; a zombie has ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_step_that_fails_is_an_answer(tmp_path, steps):
    raised, died = ask("raises", tmp_path, steps), ask("dies", tmp_path, steps)
    assert raised.answer.came == "ValueError: odd <b>"
    assert "Traceback" in (tmp_path / "raises" / "log.txt").read_text()
    assert "ended with status -11" in died.answer.came
    page = make_page(["here & now"], [raised, died])
    assert "2 questions, 2 with a wrong answer, 0 not finished, 0 not asked" in page
    assert "odd &lt;b&gt;" in page
    assert "here &amp; now" in page


def test_without_a_gpu_there_are_a_page_and_an_archive_all_the_same(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "first-gpu", "--out", tmp_path / "out"]
    played = {**os.environ, "PYTHONPATH": ""}
    names = ["facts", "faults"]
    done = subprocess.run([*command, *names], capture_output=True, text=True, env=played)
    assert done.returncode == 1, done.stderr
    page = (tmp_path / "out" / "first-gpu.html").read_text()
    for step in STEPS[:1]:
        assert step.asked in page.replace("&#x27;", "'")
    assert "needs a GPU" in page
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        kept = archive.getnames()
    assert {"out/first-gpu.html", "out/facts/cpu.txt", "out/faults/answer.json"} <= {*kept}
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.tar.gz"}
    assert not (tmp_path / "out" / "site").exists()
    assert not any(".part" in name or "site" in name for name in kept)


def test_no_time_left_is_told(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "first-gpu", "--out", tmp_path / "out"]
    archive = tmp_path / "kept" / "here.tgz"
    command += ["--most", "1", "--archive", archive]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count("no time was left") == len(STEPS)
    assert done.stdout.splitlines()[-1] == str(archive)
    with tarfile.open(archive) as packed:
        assert "out/first-gpu.html" in packed.getnames()


IMAGE = ("cupy", "numpy", "mpi4py", "numba", "llvmlite")
"""What the machine has to have."""
REPORT = ("matplotlib", "jinja2")
"""What the report takes, which no step writes."""


def read_wheel_lists() -> list[set[str]]:
    """Return the names of each list of wheels in the header of the script."""
    header = (ROOT / "scripts" / "first-gpu").read_text().split('"""')[1].replace("\\\n", " ")
    found = re.findall(r"pip download -d wheels --no-deps (.+)", header)
    return [{plain(name) for name in line.replace("\\", " ").split()} for line in found]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheels_are_all_that_a_step_takes():
    whole, short = read_wheel_lists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    there = {*whole, *IMAGE, *REPORT}
    assert {plain(Requirement(line).name) for line in project["dependencies"]} <= there
    missing = {
        (name, plain(need.name))
        for name in whole
        for need in map(Requirement, requires(name))
        if need.marker is None or need.marker.evaluate({"extra": ""})
        if plain(need.name) not in there
    }
    assert not missing
    assert short < whole


def requires(name: str) -> list[str]:
    """Return what a package that is installed here needs."""
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def test_a_run_takes_nothing_that_only_the_report_needs(tmp_path):
    suite = tmp_path / "one.toml"
    suite.write_text(
        '[suite]\nname = "one"\ncap_s = 0.05\n[[benchmark]]\nname = "matmul"\nn = [8]\n'
    )
    for name in REPORT:
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "import sys; from pathlib import Path; from firstgpu.rows import count_rows, run_suite\n"
    code += "print(count_rows(run_suite(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]).rows()))"
    env["PYTHONPATH"] += f":{ROOT / 'scripts'}"
    command = [sys.executable, "-c", code, suite, tmp_path, "--launcher", "local"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1 ok", done.stderr


def test_wheels_are_unpacked_as_pip_would(tmp_path):
    wheel = tmp_path / "odd-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        program = zipfile.ZipInfo("odd-1.data/scripts/run")
        program.external_attr = 0o755 << 16
        archive.writestr(program, "#!/bin/sh\n")
        archive.writestr("odd-1.data/data/lib/libodd.so", "x")
        archive.writestr("odd-1.data/platlib/odd/core.py", "x")
        archive.writestr("odd/__init__.py", "")
    unpack(wheel, tmp_path / "site")
    assert (tmp_path / "site" / "bin" / "run").stat().st_mode & stat.S_IXUSR
    assert (tmp_path / "site" / "lib" / "libodd.so").exists()
    assert {p.name for p in (tmp_path / "site" / "odd").iterdir()} == {"core.py", "__init__.py"}
    assert place_of("odd/__init__.py") == "odd/__init__.py"


def test_no_wheel_writes_outside_its_folder(tmp_path):
    wheel = tmp_path / "odd-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(ValueError, match="outside its folder"):
        unpack(wheel, tmp_path / "site")
    assert not (tmp_path / "outside").exists()


def test_the_fixed_part_of_a_sample_is_found_again():
    times = [2**i for i in range(9)]
    found = fit_line(times, [3e-6 + 20e-6 * n for n in times])
    assert found == pytest.approx(Line(3e-6, 20e-6), rel=1e-6)
    # Of a sample of a millisecond it is a share that falls with what an operation takes.
    for each_s in (1e-6, 1e-4, 1e-2):
        whole = 6e-6 / Line(6e-6, each_s).share(6e-6, LEAST_SAMPLE)
        loops = round((whole - 6e-6) / each_s)
        assert whole == pytest.approx(6e-6 + loops * each_s)
        # As many as last a millisecond, and no more than are queued behind one hold.
        assert loops >= MOST_QUEUED or whole >= LEAST_SAMPLE.seconds
        assert loops <= MOST_QUEUED
    noise = np.random.default_rng(3)
    noisy = sample(lambda n: (5e-6 + 40e-6 * n) / n * (1 + abs(noise.normal(0, 0.01))))
    assert noisy.each_s == pytest.approx(40e-6, rel=0.02)
    assert noisy.fixed_s == pytest.approx(5e-6, abs=1e-6)


def test_what_the_cuda_program_prints_is_read():
    text = "pinned,device,copy-engine,55.2\ndevice,device,kernel,1307\n"
    assert recipe.read_rates(text) == {
        recipe.Way("pinned", "device", "copy-engine"): 55.2,
        recipe.Way("device", "device", "kernel"): 1307.0,
    }


def test_a_test_that_was_skipped_for_no_good_reason_has_failed(tmp_path):
    file = tmp_path / "tests.xml"
    skipped = '<testcase classname="t" name="{}"><skipped message="{}"/></testcase>'
    file.write_text(
        '<testsuites><testsuite><testcase classname="t" name="a"/>'
        + skipped.format("b", "needs 2 GPUs; here is 1")
        + skipped.format("c", "it needs a GPU and CuPy (UserWarning)")
        + skipped.format("e", "CuPy finds no NCCL")
        + '<testcase classname="t" name="d"><failure message="x"/></testcase>'
        + "</testsuite></testsuites>"
    )
    found = gpu_tests.read_report(file, nccl=False)
    assert (found.passed, found.failed, found.expected) == (1, ["t::d"], 2)
    assert found.unexpected == ["t::c was skipped: it needs a GPU and CuPy (UserWarning)"]
    # Where NCCL is here, nothing may be skipped for want of it.
    found = gpu_tests.read_report(file, nccl=True)
    assert found.unexpected[1:] == ["t::e was skipped: CuPy finds no NCCL"]
    assert gpu_tests.name_some([*"abcdefg"])[-1] == "and 2 more"
    assert gpu_tests.name_some([*"abcde"]) == [*"abcde"]


def test_what_is_no_answer_is_none(tmp_path):
    assert read_answer(tmp_path) is None
    (tmp_path / "answer.json").write_text('{"outcome": "great"}')
    assert read_answer(tmp_path) is None
    Answer(Outcome.RIGHT, "all", "well", [["a"], ["1"]]).write(tmp_path)
    assert read_answer(tmp_path) == Answer(Outcome.RIGHT, "all", "well", [["a"], ["1"]])


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the steps find a simulated GPU."""
    made = simulate(monkeypatch, gpus=1)
    gpu.open_memories.cache_clear()
    yield made
    gpu.open_memories.cache_clear()


def test_faults_on_purpose_are_seen(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "SIDES", (256,))
    assert take("faults", tmp_path).came == "every fault was seen"
    # And one that nobody made is told.
    monkeypatch.setitem(faults.FAULTS, "no fault", lambda product: product)
    answer = take("faults", tmp_path)
    assert answer.outcome is Outcome.WRONG
    assert answer.came.count("no fault not seen") == len(faults.DTYPES)


def test_the_fixed_part_is_measured_on_every_route(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(fixed_cost, "SIZES", (2**12, 2**20))
    answer = take("fixed_cost", tmp_path)
    names, *rows = answer.table
    assert len(rows) == len(gpu.ROUTES) * 2 * 2 * 2
    assert {len(row) for row in rows} == {len(names)}
    assert (tmp_path / "fixed-cost.csv").read_text().count("\n") == len(answer.table)


def test_the_copy_kernel_runs_for_the_sanitizer_without_a_hold(simulated, monkeypatch):
    monkeypatch.setattr(sanitizer, "SIZES", (17, 2**12 + 5))
    monkeypatch.setattr(SimulatedKernel, "_hold", None)
    sanitizer.copy_all()


def test_times_of_another_library_are_judged_one_by_one(tmp_path):
    near, far = Compared("near", 1.0, 1.03, 0.05), Compared("far", 1.0, 0.9, 0.05)
    answer = libraries.tell(tmp_path, [Compared("same", 1.0, 1.0, 0.05), near])
    assert [row[-1] for row in answer.table] == ["within", "2%", "5%"]
    assert answer.came.endswith("1 of 2 within 2%")
    assert libraries.tell(tmp_path, [near, far]).came == "far takes 0.900 of PyTorch's time"

    def cut_off() -> Iterator[Compared]:
        yield near
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        libraries.tell(tmp_path, cut_off())
    kept = read_answer(tmp_path)
    assert kept is not None
    assert not kept.finished
    assert len(kept.table) == 2


def test_ours_is_measured_as_the_recipe_is(simulated):
    found = recipe.measure_ours(2**20, 8)
    assert {str(way) for way in found} >= {"pinned to device by copy-engine"}
    assert all(rate > 0 for rate in found.values())
