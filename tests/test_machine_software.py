"""Software: versions by name, and an environment that leaks nothing."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.machine.software import (
    read_blas,
    read_libraries,
    read_packages,
    select_environment,
)


def test_only_variables_that_steer_a_measurement_are_kept() -> None:
    environ = {
        "OMP_NUM_THREADS": "4",
        "UCX_TLS": "rc,cuda",
        "NCCL_DEBUG": "INFO",
        "OMPI_MCA_pml": "ucx",
        "SLURM_JOB_ID": "4711",
        "HOME": "/home/someone",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "SLURM_JOB_USER": "someone",
        "MY_UCX_TLS": "tcp",
    }
    assert select_environment(environ) == {
        "NCCL_DEBUG": "INFO",
        "OMPI_MCA_pml": "ucx",
        "OMP_NUM_THREADS": "4",
        "SLURM_JOB_ID": "4711",
        "UCX_TLS": "rc,cuda",
    }


@pytest.mark.parametrize(
    "name",
    [
        "UCX_AUTH_FILE",
        "NCCL_TOKEN",
        "FI_OPX_KEY",
        "OMPI_MCA_sec_password",
        "RCCL_MY_SECRET",
        "UCX_CREDENTIALS",
        "PRTE_MCA_pass",
    ],
)
def test_names_that_look_secret_are_dropped_whatever_their_prefix(name: str) -> None:
    assert select_environment({name: "hunter2"}) == {}


def test_what_open_mpi_hands_its_ranks_is_no_choice_of_anyone() -> None:
    environ = {
        "OMPI_MCA_orte_hnp_uri": "123;tcp://10.0.0.1:5",
        "OMPI_MCA_num_procs": "2",
        "OMPI_MCA_initial_wdir": "/home/someone",
        "OMPI_MCA_btl": "self,sm",
    }
    assert select_environment(environ) == {"OMPI_MCA_btl": "self,sm"}


def test_values_that_are_not_utf_8_can_be_stored() -> None:
    code = (
        "import os; import msgspec; from bench.machine.software import select_environment; "
        "print(msgspec.json.encode(select_environment(os.environ)).decode())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environb, b"UCX_TLS": b"tcp\xff"},
        capture_output=True,
        check=True,
        timeout=600,
    )
    assert msgspec.json.decode(answer.stdout)["UCX_TLS"] == "tcp\\udcff"


def test_blas_is_numpy_s_own() -> None:
    # SciPy loads another copy into the same process.
    import scipy.linalg  # noqa: F401

    blas = read_blas()
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert blas is not None
    if "openblas" in built["name"]:
        assert blas.name == "openblas"
        assert blas.version is not None
        assert blas.version.split(".")[:3] == built["version"].split(".")[:3]
    assert blas.threads


def test_packages_are_those_installed() -> None:
    packages = read_packages()
    assert packages["numpy"] == np.__version__
    assert packages["python"] == ".".join(str(n) for n in sys.version_info[:3])
    assert "pytest" not in packages
    assert read_packages(["no-such-distribution"]).keys() == {"python"}


def test_a_wheel_comes_before_pkg_config(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib64/pkgconfig"
    folder.mkdir(parents=True)
    (folder / "ucx.pc").write_text("Name: ucx\nVersion: 1.17.0\n")
    (folder / "libfabric.pc").write_text("Version: $(rm -rf /)\n")
    assert read_libraries(tmp_path, {}) == {"ucx": "1.17.0", "libfabric": None, "nccl": None}
    wheels = {"libucx-cu13": "1.19.0", "nvidia-nccl-cu12": "2.27.3"}
    assert read_libraries(tmp_path, wheels) == {
        "ucx": "1.19.0",
        "libfabric": None,
        "nccl": "2.27.3",
    }
