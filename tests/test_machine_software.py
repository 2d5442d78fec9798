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
    steering_variables,
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
        "FI_APIKEY",
        "I_MPI_COOKIE",
    ],
)
def test_names_that_look_secret_are_dropped_whatever_their_prefix(name: str) -> None:
    assert select_environment({name: "hunter2"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("OMPI_MCA_btl_tcp_if_include", "PRTE_MCA_plm_ssh_agent", "PMIX_MCA_gds"),
        *("MPICH_OFI_NIC_POLICY", "MPIR_CVAR_ENABLE_GPU", "I_MPI_FABRICS", "MV2_IBA_HCA"),
        *("UCX_NET_DEVICES", "UCC_TLS", "FI_PROVIDER", "NCCL_IB_HCA", "RCCL_MSCCL_ENABLE"),
        *("HSA_ENABLE_SDMA", "GDRCOPY_LOG_LEVEL", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "NVIDIA_TF32_OVERRIDE"),
        *("OMP_PLACES", "OPENBLAS_NUM_THREADS", "MKL_DYNAMIC", "BLIS_JC_NT", "GOTO_NUM_THREADS"),
        *("KMP_AFFINITY", "NUMBA_CPU_NAME"),
        # Partitions of InfiniBand, not keys to anything; and a way past a stage.
        *("UCX_IB_PKEY", "NCCL_IB_PKEY", "FI_OPX_BYPASS"),
    ],
)
def test_what_steers_the_ranks_is_known_and_recorded(name: str) -> None:
    assert steering_variables({name: "1"}) == {name: "1"}
    assert select_environment({name: "1"}) == {name: "1"}


@pytest.mark.parametrize(
    "name",
    [
        *("OMPI_COMM_WORLD_RANK", "OMPI_FILE_LOCATION", "PMIX_RANK", "PMIX_SERVER_URI41"),
        *("PMI_RANK", "MPI_LOCALRANKID", "SLURM_PROCID", "PRTE_LAUNCHED", "PRTE_MCA_ess_base_vpid"),
        *("MPICH_INTERFACE_HOSTNAME", "MPIR_CVAR_CH3_INTERFACE_HOSTNAME", "I_MPI_INFO_NP"),
        *("MV2_COMM_WORLD_LOCAL_RANK", "NCCL_HOSTID", "NCCL_COMM_ID", "HOME", "PATH"),
    ],
)
def test_what_a_launcher_sets_for_each_rank_steers_nothing(name: str) -> None:
    assert steering_variables({name: "1"}) == {}


def test_a_device_named_by_its_identity_is_recorded_but_means_nothing_elsewhere() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "MIG-1f0c,GPU-77", "ROCR_VISIBLE_DEVICES": "0,1"}
    assert select_environment(environ) == environ
    assert steering_variables(environ) == {"ROCR_VISIBLE_DEVICES": "0,1"}


def test_jobs_numbers_are_recorded_and_steer_nothing() -> None:
    assert steering_variables({"SLURM_JOB_ID": "4711", "SLURM_NNODES": "2"}) == {}


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
