"""The folder of results: full, removed, closed, a link to nowhere, and whose files they are."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from begun import begun_plan
from test_robustness import (
    COPIES,
    FEW_COPIES,
    LONGEST_S,
    ROOT,
    clusterbench,
    complaint,
    mount,
    wait_for_rows,
)

from bench.core.errors import RequestError, StorageError
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.store.begin import create_folder
from bench.store.folder import open_run
from bench.store.lock import lock_run
from bench.store.recorder import Recorder


@contextmanager
def few_files(folder: Path, count: int) -> Iterator[Path]:
    """Give a file system with room for so many files."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size=2m,nr_inodes={count}", "clusterbench-test", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def suite_in(folder: Path, text: str = FEW_COPIES) -> Path:
    suite = folder / "endure.toml"
    suite.write_text(text)
    return suite


@pytest.mark.slow
def test_a_disk_without_room_for_another_file_ends_a_run_which_is_resumed(tmp_path):
    suite = suite_in(tmp_path)
    with few_files(tmp_path / "results", 12) as results:
        first = clusterbench("run", suite, "--launcher", "local", "-o", results)
        _, said = first.communicate(timeout=LONGEST_S)
        assert first.returncode == 4
        assert "No space left" in complaint(said)
        (folder,) = results.glob("*-endure-*")
        assert f"clusterbench resume {folder}" in complaint(said)
        mount("-o", "remount,nr_inodes=100", results)
        again = clusterbench("resume", folder)
        _, said = again.communicate(timeout=LONGEST_S)
        assert again.returncode == 0, said
        assert not open_run(folder).missing()


def test_a_run_whose_folder_is_removed_ends_and_says_so(tmp_path):
    results = tmp_path / "results"
    process = clusterbench("run", suite_in(tmp_path, COPIES), "--launcher", "local", "-o", results)
    folder = wait_for_rows(results, 2)
    shutil.rmtree(folder)
    _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 4
    assert "the folder of the run is gone" in complaint(said)
    assert "No such file" not in complaint(said)
    # Nothing is made anew in its place.
    assert not folder.exists()


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o077])
def test_who_may_read_and_write_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        folder = create_folder(tmp_path / "results", "endure")
        plan = make_plan(parse_suite(COPIES, "endure"))
        begun_plan(folder, plan)
        with lock_run(folder) as lock:
            recorder = Recorder(open_run(folder), lock)
            recorder.log_file("job", 0)
            recorder.end("complete")
            recorder.finish()
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "results").rglob("*")
    }
    assert len(modes) > 10
    for path, mode in modes.items():
        most = 0o777 if (tmp_path / path).is_dir() else 0o666
        assert oct(mode) == oct(most & ~mask), path


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    link = tmp_path / "results"
    link.symlink_to(tmp_path / "disk" / "results")
    with pytest.raises(RequestError) as refused:
        create_folder(link, "endure")
    assert f"a link to {tmp_path / 'disk' / 'results'}, which is not there" in str(refused.value)
    (tmp_path / "disk" / "results").mkdir(parents=True)
    assert create_folder(link, "endure").is_dir()


def test_a_folder_that_root_has_sealed_is_refused(tmp_path):
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    if subprocess.run(["chattr", "+i", sealed], capture_output=True).returncode != 0:
        pytest.skip("no immutable folders here: not root, or not on this file system")
    try:
        with pytest.raises(RequestError, match="Operation not permitted; choose another folder"):
            create_folder(sealed, "endure")
    finally:
        subprocess.run(["chattr", "-i", sealed], check=True)


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path):
    folders = {create_folder(tmp_path, "endure") for _ in range(50)}
    assert len(folders) == 50
    assert (tmp_path / "latest").readlink().name in {folder.name for folder in folders}


@pytest.mark.slow
def test_a_full_device_for_output_costs_no_row(tmp_path):
    results = tmp_path / "results"
    suite = suite_in(tmp_path)
    with Path("/dev/full").open("w") as full:
        request = ("run", suite, "--launcher", "local", "-o", results, "--no-report")
        done = subprocess.run(
            (sys.executable, "-P", "-m", "bench", *request),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            timeout=LONGEST_S,
        )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    (folder,) = results.glob("*-endure-*")
    run = open_run(folder)
    assert not run.missing()
    assert run.meta.outcome == "complete"


def test_a_folder_that_is_gone_is_told_from_a_file_that_is_missing(tmp_path):
    plan = make_plan(parse_suite(COPIES, "endure"))
    (tmp_path / "run").mkdir()
    recorder = Recorder(begun_plan(tmp_path / "run", plan))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(StorageError, match="is gone"):
        recorder.save_findings()
    recorder.end("interrupted")
    recorder.finish()
