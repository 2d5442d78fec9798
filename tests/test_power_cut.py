"""What scripts/prove-power-cut copies, stops and demands, and a short form of it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import psutil
import pytest

from bench.store.files import JOURNAL_FILE, PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE, SAMPLES_FILE
from bench.store.folder import open_run

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
demands = pytest.importorskip("provekit.demands")
from provekit import disk, page  # noqa: E402
from provekit.after_cut import Names  # noqa: E402
from provekit.allowed import Traced, draw_folders  # noqa: E402
from provekit.calls import Act, Call, Create, MakeFolder, Rename, Sync, Write  # noqa: E402
from provekit.halted import Halted  # noqa: E402

SUITE = """
[suite]
name = "cut"
cap_s = 0.01
[[benchmark]]
name = "matmul"
batch = [1, 2, 3, 4]
n = 8
k = 8
threads = 1
"""
NAME = "20261128T000000Z-cut-0a1b2c"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds a run of four rows."""
    parent = tmp_path_factory.mktemp("runs")
    suite = parent / "cut.toml"
    suite.write_text(SUITE)
    asked = ("run", suite, "--launcher", "local", "-o", parent / "runs", "--no-report")
    subprocess.run([sys.executable, "-P", "-m", "bench", *asked], check=True, capture_output=True)
    return parent / "runs"


@pytest.fixture
def cut(kept: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, to be damaged."""
    return shutil.copytree(kept, tmp_path / "cut", symlinks=True)


def standing(parent: Path) -> "demands.Standing":
    run = demands.find_run(parent)
    results, predictions = ((run / name).read_bytes() for name in (RESULTS_FILE, PREDICTIONS_FILE))
    return demands.stand(True, results, predictions)


def inspect(parent: Path, kept: Path) -> "demands.Found":
    truth = demands.read_truth(open_run(demands.find_run(kept)))
    return demands.inspect(parent, standing(kept), truth)


def drop_last_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def zero_the_end(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-40].ljust(len(content), b"\0"))


def change_a_time(path: Path) -> None:
    header, *lines = path.read_text().splitlines()
    cells = lines[-1].split(",")
    cells[header.split(",").index("t_median_s")] = "1.0"
    path.write_text("\n".join([header, *lines[:-1], ",".join(cells)]) + "\n")


def test_what_no_cut_has_touched_is_whole(cut, kept):
    found = inspect(cut, kept)
    assert found == demands.Found("a run", found.run, rows=4)
    assert not found.bad


@pytest.mark.parametrize(
    ("name", "damage", "what", "count"),
    [
        (RESULTS_FILE, drop_last_line, "lost", 1),
        (SAMPLES_FILE, drop_last_line, "unsampled", 1),
        (PREDICTIONS_FILE, drop_last_line, "unforeseen", 1),
        (JOURNAL_FILE, lambda path: path.write_bytes(b""), "unheard", 4),
        (RESULTS_FILE, change_a_time, "invented", 1),
        (RESULTS_FILE, Path.unlink, "lost", 4),
        (RUN_FILE, lambda path: path.write_bytes(b""), "lost", 4),
        (RUN_FILE, Path.unlink, "lost", 4),
        (JOURNAL_FILE, lambda path: path.write_bytes(b"torn\n"), "lost", 4),
    ],
)
def test_what_a_cut_took_is_counted(
    name: str, damage: Callable[[Path], object], what: str, count: int, cut: Path, kept: Path
) -> None:
    damage(demands.find_run(cut) / name)
    found = inspect(cut, kept)
    assert found.bad
    assert getattr(found, what) == count


def test_a_run_that_had_not_begun_may_be_missing(kept, tmp_path):
    truth = demands.read_truth(open_run(demands.find_run(kept)))
    nothing = demands.Standing()
    assert demands.inspect(tmp_path, nothing, truth) == demands.Found("no run")
    (tmp_path / NAME / "logs").mkdir(parents=True)
    assert demands.inspect(tmp_path, nothing, truth) == demands.Found("no run")
    assert demands.inspect(tmp_path, nothing._replace(begun=True), truth).bad


def test_a_resumed_run_is_whole(cut):
    run = demands.find_run(cut)
    drop_last_line(run / RESULTS_FILE)
    assert demands.resume(run) == demands.Resumed(0, 4, 0, 0, 0, 0)
    # What is not there cannot be resumed.
    (run / RUN_FILE).write_bytes(b"")
    with pytest.raises(Exception, match="cannot be read"):
        demands.resume(run)


def write_run(kept: Path, synced: bool) -> "Traced":
    """Return a run as one that writes its files one after the other, and syncs them or not."""
    run, root = demands.find_run(kept), PurePosixPath("/runs")
    below = root / run.name
    acts: list[Act] = [MakeFolder(below)]
    for path in sorted(run.rglob("*")):
        target = below / path.relative_to(run)
        if path.is_dir():
            acts.append(MakeFolder(target))
        elif path.name != RUN_FILE:
            acts += [Create(target), Write(target, None, path.read_bytes())]
            acts += [Sync(target), Sync(target.parent)]
    # Last, and under its name only once it is whole: a folder that has it is a run.
    whole, temporary = below / RUN_FILE, below / f".{RUN_FILE}"
    acts += [Sync(below), Sync(root), Create(temporary)]
    acts += [Write(temporary, None, (run / RUN_FILE).read_bytes()), Sync(temporary)]
    acts += [Rename(temporary, whole), Sync(below)]
    done = [act for act in acts if synced or not isinstance(act, Sync)]
    calls = [Call(at / 10, at / 10 + 0.05, act) for at, act in enumerate(done)]
    # So that there are moments at which something is promised.
    calls.append(Call(60.0, 60.0, Create(root / "later")))
    truth = demands.read_truth(open_run(run))
    return Traced("ended", Path(root), run.name, calls, truth)


def test_a_store_that_syncs_keeps_all_and_one_that_does_not_is_found_out(kept, tmp_path):
    (tmp_path / "synced").mkdir()
    synced = list(draw_folders([write_run(kept, True)], tmp_path / "synced", 54, seed=1))
    assert [each.found for each in synced if each.bad] == []
    assert any(each.promised and each.found.holds == "a run" for each in synced)
    (tmp_path / "not").mkdir()
    unsynced = list(draw_folders([write_run(kept, False)], tmp_path / "not", 90, seed=1))
    # Nothing was promised of some, and of others all was kept by chance.
    due = [each for each in unsynced if each.promised and each.drawn.names is Names.LOST]
    assert len(due) > 2
    assert all(each.found.lost == each.promised for each in due)


@pytest.mark.parametrize(
    ("at_s", "earlier_s"),
    [(90.0, 80.0), (110.0, 90.0), (125.0, 95.0), (130.0, 120.0), (150.0, 140.0)],
)
def test_no_time_passes_while_no_process_of_the_run_lives(at_s: float, earlier_s: float) -> None:
    truth = demands.Truth(frozenset(), {})
    run = Traced("killed", Path("/runs"), NAME, [], truth, gap_s=(100.0, 120.0))
    assert run.earlier(at_s, 10.0) == earlier_s


def test_a_copy_of_what_stands_still_takes_two_readings(tmp_path):
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
        file.seek(5 * 2**20)
        file.write(b"in the midst")
    copy = tmp_path / "copy"
    assert disk.copy_still(image, copy) == 2
    assert copy.read_bytes() == image.read_bytes()
    assert copy.stat().st_blocks * 512 < 2 * 2**20


def test_a_copy_waits_until_nobody_writes(tmp_path):
    image, copy = tmp_path / "image", tmp_path / "copy"
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    writes = threading.Event()

    def write() -> None:
        end_s = time.monotonic() + 1.0
        with image.open("r+b", buffering=0) as file:
            while time.monotonic() < end_s:
                os.pwrite(file.fileno(), os.urandom(8), 2**19)
                writes.set()

    writer = threading.Thread(target=write)
    writer.start()
    writes.wait()
    assert disk.copy_still(image, copy) > 2
    writer.join()
    assert copy.read_bytes() == image.read_bytes()


DISK = """
import os, sys
from pathlib import Path
from provekit import disk
folder = Path(sys.argv[1])
if why := disk.why_no_disk(folder):
    sys.exit(f"skip: {why}")
image, copy = folder / "image", folder / "copy"
disk.make_disk(image)
with disk.mounted(image, folder / "disk") as live:
    with (live / "rows").open("wb", buffering=0) as file:
        file.write(b"synced")
        os.fsync(file.fileno())
        file.write(b" and not")
        disk.copy_still(image, copy)
with disk.mounted(copy, folder / "after") as after:
    print((after / "rows").read_bytes())
input()
"""


def test_a_copy_of_a_mounted_disk_holds_what_was_synced_and_nobody_else_holds_it(tmp_path):
    command = [sys.executable, "-c", DISK, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.readline()
        mounts = Path("/proc/self/mounts").read_text()
        _, errors = process.communicate("\n", timeout=60)
    if "skip: " in errors:
        pytest.skip(errors.partition("skip: ")[2].strip())
    assert printed.startswith("b'synced"), errors
    assert str(tmp_path) not in mounts


def test_every_process_stands_still_and_then_goes_on(tmp_path):
    counts = [tmp_path / "parent", tmp_path / "child"]
    loop = "while :; do echo >> {}; done"
    command = f"({loop.format(counts[1])}) & {loop.format(counts[0])}"
    process = psutil.Popen(["sh", "-c", command], start_new_session=True)

    def grown() -> list[bool]:
        before = [path.stat().st_size for path in counts]
        time.sleep(0.2)
        return [path.stat().st_size > size for path, size in zip(counts, before, strict=True)]

    try:
        while not all(path.exists() for path in counts):
            time.sleep(0.01)
        halted = Halted(process)
        with halted.halt():
            began_s = halted.now_s()
            assert grown() == [False, False]
        assert halted.now_s() < began_s + 0.2
        assert grown() == [True, True]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_page_gets_what_was_measured_and_keeps_the_rest(tmp_path):
    path = tmp_path / "page.md"
    one, two = page.begin_of("one"), page.begin_of("two")
    path.write_text(f"before\n{one}\nold\n{page.END}\nbetween\n{two}\nold\n{page.END}\nafter\n")
    page.write_measured(path, "\nnew\n", "two")
    rest = f"{two}\n\nnew\n\n{page.END}\nafter\n"
    assert path.read_text() == f"before\n{one}\nold\n{page.END}\nbetween\n{rest}"


@pytest.mark.parametrize("times", [0, 2])
def test_a_page_without_one_place_for_what_was_measured_stays(times, tmp_path):
    path = tmp_path / "page.md"
    text = f"{page.begin_of('one')}\nold\n{page.END}\n" * times
    path.write_text(text)
    with pytest.raises(ValueError, match="exactly once"):
        page.write_measured(path, "new", "one")
    assert path.read_text() == text


def test_every_place_for_what_was_measured_names_a_program():
    pages = [file.read_text() for file in sorted((ROOT / "docs").glob("*.md"))]
    programs = re.findall("<!-- measured by ([^: ]+)[^:]*: begin -->", "".join(pages))
    assert len(programs) == sum(text.count(page.END) for text in pages) > 5
    assert all((ROOT / "scripts" / program).is_file() for program in programs)


def prove(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "prove-power-cut"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=850, check=False)


def test_a_part_that_is_none_is_refused():
    answer = prove("copie")
    assert answer.returncode == 2
    assert "copies and folders" in answer.stderr


@pytest.mark.slow
@pytest.mark.mpi
def test_a_power_cut_takes_no_row_of_ten_seconds_before():
    answer = prove("--short", "--seed", "1")
    print(answer.stdout, answer.stderr)
    if "skipped: " in answer.stdout:
        pytest.skip(answer.stdout.partition("skipped: ")[2].splitlines()[0])
    assert answer.returncode == 0
    assert answer.stdout.count("- met: ") == 4
