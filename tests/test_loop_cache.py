"""Compiled loops are kept for the code that they were compiled from, and for no other."""

import shutil
from pathlib import Path

import pytest

import bench.rank.timing.layers as layers


def test_an_upgrade_reads_no_cache_of_the_loops_before(tmp_path):
    folder = Path(layers.__file__).parent
    copy = tmp_path / "timing"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert layers.name_loops(copy) == layers.name_loops(folder)
    (copy / "mpi_calls.py").rename(copy / "calls.py")
    renamed = layers.name_loops(copy)
    assert renamed != layers.name_loops(folder)
    with (copy / "calls.py").open("a") as file:
        file.write("# changed\n")
    assert layers.name_loops(copy) not in (renamed, layers.name_loops(folder))


def test_the_cache_of_each_code_is_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv(layers.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = []
    for name in ("one", "other"):
        monkeypatch.setattr(layers, "name_loops", lambda _folder, name=name: name)
        layers.prepare_cache()
        chosen.append(layers.os.environ.pop(layers.CACHE_VARIABLE))
    assert chosen == [str(tmp_path / "clusterbench" / name) for name in ("one", "other")]


@pytest.mark.parametrize("chosen", ["/proc/cache", "/dev/null/cache", "", "a\0b"])
def test_a_chosen_folder_that_nothing_can_be_made_in_is_given_up(chosen, tmp_path, monkeypatch):
    environ = {"XDG_CACHE_HOME": str(tmp_path), layers.CACHE_VARIABLE: chosen}
    monkeypatch.setattr(layers.os, "environ", environ)
    layers.prepare_cache()
    assert Path(environ[layers.CACHE_VARIABLE]).parent == tmp_path / "clusterbench"


def test_a_chosen_folder_is_taken(tmp_path, monkeypatch):
    environ = {layers.CACHE_VARIABLE: str(tmp_path / "deep" / "er")}
    monkeypatch.setattr(layers.os, "environ", environ)
    layers.prepare_cache()
    assert environ == {layers.CACHE_VARIABLE: str(tmp_path / "deep" / "er")}


def test_without_a_home_and_a_folder_for_what_nobody_keeps_there_is_shared_memory(
    tmp_path, monkeypatch
):
    def fail() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(layers.os, "environ", {"HOME": "/proc"})
    monkeypatch.setattr(layers.tempfile, "gettempdir", fail)
    monkeypatch.setattr(layers, "_SHARED_MEMORY", str(tmp_path))
    assert layers.cache_folder().parent == tmp_path
