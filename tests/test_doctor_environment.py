"""What a shell, a container or somebody's settings do to ranks is named before they start."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trees import write_tree

from bench.core.records import Finding
from bench.machine.cpu import CpuFacts
from bench.machine.doctor import check_node
from bench.machine.doctor.host import check_stolen, read_stolen
from bench.machine.doctor.scratch import check_scratch, try_scratch
from bench.machine.doctor.settings import check_settings
from bench.machine.facts import NodeFacts, facts_hash
from bench.machine.host import HostFacts
from bench.machine.limits import LimitFacts, read_limits
from bench.machine.memory import MemoryFacts, NumaNode, read_memory
from bench.machine.nic import RdmaFacts
from bench.machine.settings import read_settings
from bench.machine.shared_memory import (
    FOLDER,
    SharedMemoryFacts,
    read_shared_memory,
    try_cross_attach,
)

GIB = 2**30
MIB = 2**20
KIB = 2**10

SHARED = SharedMemoryFacts(
    kind="tmpfs", size=8 * GIB, free=8 * GIB, read_only=False, cross_attach="possible"
)
LIMITS = LimitFacts(open_files=1024, processes=60_000, locked_memory=8 * MIB, stack=8 * MIB)
HEALTHY = NodeFacts(
    cpu=CpuFacts(cores=16, logical=16, usable=16, usable_cores=16, governors=("performance",)),
    memory=MemoryFacts(
        total=64 * GIB,
        available=32 * GIB,
        huge_pages="madvise",
        defrag="madvise",
        numa_balancing=True,
    ),
    numa=(NumaNode(node=0),),
    shared_memory=SHARED,
    limits=LIMITS,
    packages={"numba": "0.61.0"},
)


def shared(**changes: Any) -> NodeFacts:
    return replaced(shared_memory=msgspec.structs.replace(SHARED, **changes))


def limited(**changes: Any) -> NodeFacts:
    return replaced(limits=msgspec.structs.replace(LIMITS, **changes))


def memory(**changes: Any) -> NodeFacts:
    return replaced(memory=msgspec.structs.replace(HEALTHY.memory, **changes))


def replaced(**changes: Any) -> NodeFacts:
    return msgspec.structs.replace(HEALTHY, **changes)


def said(finding: Finding) -> str:
    return f"{finding.text} {finding.advice}"


CONTAINER = replaced(
    system=HostFacts(container="docker"),
    shared_memory=msgspec.structs.replace(SHARED, cross_attach="refused: EPERM"),
)


@pytest.mark.parametrize(
    "facts",
    [
        HEALTHY,
        NodeFacts(packages={"numba": "0"}, cpu=HEALTHY.cpu),
        shared(free=16 * 17 * MIB),
        shared(ptrace_scope=1),
        limited(open_files=None, stack=None, locked_memory=None),
        limited(open_files=128, processes=192, address_space=2 * GIB, file_size=GIB, stack=MIB),
        memory(huge_pages="always", defrag=None),
    ],
)
def test_a_healthy_machine_hears_nothing(facts: NodeFacts) -> None:
    assert check_node(facts) == ()


@pytest.mark.parametrize(
    ("facts", "level", "name", "words"),
    [
        (shared(free=64 * MIB), "warning", "small-shm", ["64 MiB of 8 GiB", "16 cores", "272 MiB"]),
        (shared(free=63 * MIB), "warning", "small-shm", ["--shm-size", "signal 7"]),
        (shared(kind="ext4"), "warning", "shm-kind", ["ext4", "mount -t tmpfs"]),
        (shared(read_only=True), "warning", "shm-read-only", ["remount,rw"]),
        (CONTAINER, "warning", "cross-attach", ["EPERM", "--cap-add=SYS_PTRACE", "twice"]),
        (
            shared(cross_attach="refused: EPERM", ptrace_scope=2),
            "warning",
            "cross-attach",
            ["kernel.yama.ptrace_scope=1"],
        ),
        (
            shared(cross_attach="refused: EPERM", ptrace_scope=3),
            "warning",
            "cross-attach",
            ["/etc/sysctl.d"],
        ),
        (shared(cross_attach="refused: killed"), "warning", "cross-attach", ["seccomp"]),
        (limited(open_files=127), "warning", "limit-open-files", ["127 open", "ulimit -n 128"]),
        (limited(processes=100), "warning", "limit-processes", ["100 processes", "ulimit -u 192"]),
        (
            limited(address_space=GIB),
            "warning",
            "limit-address-space",
            ["1 GiB of address space", "ulimit -v 2097152"],
        ),
        (
            limited(file_size=8 * KIB),
            "warning",
            "limit-file-size",
            ["8 KiB in a file", "signal 25"],
        ),
        (limited(stack=256 * KIB), "warning", "limit-stack", ["256 KiB", "ulimit -s 1024"]),
        (
            replaced(rdma=(RdmaFacts(name="mlx5_0"),)),
            "warning",
            "limit-locked-memory",
            ["8 MiB", "ulimit -l unlimited"],
        ),
        (
            replaced(numa=(NumaNode(node=0), NumaNode(node=1))),
            "warning",
            "numa-balancing",
            ["kernel.numa_balancing=0"],
        ),
        (memory(huge_pages="never"), "note", "huge-pages", ["are off"]),
        (memory(huge_pages="always", defrag="always"), "note", "huge-pages", ["waits"]),
    ],
)
def test_what_is_in_the_way_of_ranks_is_named_with_the_way_out(
    facts: NodeFacts, level: str, name: str, words: list[str]
) -> None:
    (finding,) = check_node(facts)
    assert (finding.level, finding.name) == (level, name)
    assert [word for word in words if word not in said(finding)] == []
    assert finding.unit is None or isinstance(finding.value, int | float)


# What this machine says.


def test_free_shared_memory_is_no_other_node() -> None:
    assert facts_hash(shared(free=3)) == facts_hash(HEALTHY)
    assert facts_hash(shared(size=3)) != facts_hash(HEALTHY)


def test_shared_memory_here_is_what_is_mounted_there(tmp_path: Path) -> None:
    here = read_shared_memory(Path("/"))
    assert here.size == (state := os.statvfs(f"/{FOLDER}")).f_blocks * state.f_frsize
    assert here.cross_attach is not None
    # The last one mounted counts; of a stored tree nothing is tried.
    mounts = (
        "20 1 0:20 / / rw - ext4 /dev/sda rw\n"
        "21 20 0:21 / /dev rw - devtmpfs udev rw\n"
        "22 21 0:22 / /dev/shmoo rw - xfs none rw\n"
        "23 21 0:23 / /dev/shm rw shared:3 - ramfs none rw\n"
        "24 23 0:24 / /dev/shm rw - tmpfs none rw\n"
    )
    stored = read_shared_memory(write_tree(tmp_path, {"proc/self/mountinfo": mounts}))
    assert stored == SharedMemoryFacts(kind="tmpfs")


CLOSED = """
from bench.machine import shared_memory as shared
shared._TRIAL = shared._TRIAL.replace("signal.SIGKILL)", "signal.SIGKILL); library.prctl(4, 0)", 1)
print(shared.try_cross_attach())
"""
"""A trial whose first process closes itself to others (PR_SET_DUMPABLE)."""


def test_whether_a_process_may_read_another_one_is_tried() -> None:
    assert try_cross_attach() == "possible" or "refused" in str(try_cross_attach())
    without = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
    prefix = without if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-P", "-c", CLOSED], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "refused: EPERM"


def test_limits_are_those_of_the_shell(tmp_path: Path) -> None:
    text = "ulimit -n 64; ulimit -s 512; ulimit -f 8; ulimit -c 0; exec cat /proc/self/limits"
    shown = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert read_limits(Path("/nowhere")) is None
    limits = read_limits(write_tree(tmp_path, {"proc/self/limits": shown}))
    assert limits is not None
    # Of the shell that is sh here, -f counts 512 bytes, or 1024.
    assert (limits.open_files, limits.stack) == (64, 512 * KIB)
    assert limits.file_size in (8 * 512, 8 * KIB)
    hard = resource.getrlimit(resource.RLIMIT_AS)[0]
    assert limits.address_space == (None if hard == resource.RLIM_INFINITY else hard)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (None, None, None)),
        (
            {
                "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
                "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] never\n",
                "proc/sys/kernel/numa_balancing": "2\n",
            },
            ("madvise", "defer+madvise", True),
        ),
        ({"proc/sys/kernel/numa_balancing": "0\n"}, (None, None, False)),
        ({"sys/kernel/mm/transparent_hugepage/enabled": "always\n"}, (None, None, None)),
    ],
)
def test_what_the_kernel_does_to_pages_is_read(tmp_path, files, expected):
    found = read_memory(write_tree(tmp_path, files))
    assert (found.huge_pages, found.defrag, found.numa_balancing) == expected


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("cpu  60 0 20 900 0 5 5 10 0 0\n", 0.1),
        ("cpu  60 0 20 900 0 5 5 0 0 0\n", 0.0),
        ("cpu  0 0 0 900 0 0 0 0 0 0\n", None),
        ("cpu  60 0 20 900\n", None),
        ("", None),
    ],
)
def test_stolen_time_is_a_share_of_what_would_have_run(tmp_path, line, share):
    assert read_stolen(write_tree(tmp_path, {"proc/stat": line})) == share
    assert [finding.name for finding in check_stolen(share)] == ["stolen-time"] * bool(share)


# The folder of MPI's session.


def test_a_folder_that_can_be_written_is_no_topic(tmp_path):
    assert check_scratch(try_scratch({"TMPDIR": str(tmp_path)}), "openmpi") == []
    assert check_scratch(try_scratch({}), "openmpi") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("family", "level"), [("openmpi", "stop"), ("mpich", "warning")])
@pytest.mark.parametrize("folder", ["/proc", "/proc/nothing/there", "/dev/null", "/dev/null/x"])
def test_a_folder_that_takes_nothing_stops_an_open_mpi(folder, family, level):
    scratch = try_scratch({"TEMP": "/", "TMPDIR": folder})
    (finding,) = check_scratch(scratch, family)
    assert (finding.name, finding.level) == ("tmpdir", level)
    assert f"TMPDIR={folder}" in finding.text


def test_a_missing_folder_and_a_long_one_are_noted(tmp_path):
    missing = tmp_path / "a" / "b"
    (finding,) = check_scratch(try_scratch({"TMPDIR": str(missing)}), "openmpi")
    assert (finding.level, "is not there" in finding.text) == ("note", True)
    assert not missing.parent.exists()
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    (finding,) = check_scratch(try_scratch({"TMPDIR": str(deep)}), "openmpi")
    assert (finding.level, finding.name) == ("note", "tmpdir-length")


# Settings of MPI.


def with_variables(**variables: str) -> NodeFacts:
    return replaced(environment=variables)


NO_SHARING = "do not go through shared memory"


@pytest.mark.parametrize(
    ("variables", "level", "words"),
    [
        ({"OMPI_MCA_btl": "self"}, "stop", ["no rank reaches", "unset OMPI_MCA_btl"]),
        ({"OMPI_MCA_btl": "self,tcp"}, "warning", [NO_SHARING]),
        ({"OMPI_MCA_btl": "^sm"}, "warning", [NO_SHARING]),
        ({"UCX_TLS": "tcp"}, "warning", [NO_SHARING]),
        ({"UCX_TLS": "^shm"}, "warning", [NO_SHARING]),
        ({"MPIR_CVAR_NOLOCAL": "1"}, "warning", [NO_SHARING]),
        ({"I_MPI_FABRICS": "ofi"}, "warning", [NO_SHARING]),
        ({"I_MPI_SHM": "off"}, "warning", [NO_SHARING]),
        ({"MV2_USE_SHARED_MEM": "0"}, "warning", [NO_SHARING]),
        ({"OMPI_MCA_smsc": "^cma"}, "warning", ["copied twice"]),
        ({"OMPI_MCA_btl_sm_single_copy_mechanism": "none"}, "warning", ["copied twice"]),
        ({"OMPI_MCA_mpi_yield_when_idle": "1"}, "warning", ["gives its core away"]),
        ({"OMPI_MCA_btl_base_verbose": "100"}, "note", ["prints"]),
        ({"UCX_LOG_LEVEL": "info"}, "note", ["prints"]),
        ({"NCCL_DEBUG": "TRACE"}, "note", ["prints"]),
        ({"MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM": "ring"}, "note", ["algorithm"]),
        ({"FI_PROVIDER": "tcp"}, "note", ["libfabric"]),
        ({"LD_PRELOAD": "/x.so"}, "note", ["every rank"]),
    ],
)
def test_a_setting_that_spoils_a_measurement_is_named(variables, level, words):
    (finding,) = check_settings(with_variables(**variables), None)
    ((name, value),) = variables.items()
    assert (finding.name, finding.level) == ("mpi-setting", level)
    assert f"{name}={value}" in finding.text
    assert [word for word in words if word not in said(finding)] == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OMPI_MCA_btl": "^ofi,uct"},
        {"OMPI_MCA_btl": "self,sm,tcp"},
        {"OMPI_MCA_btl": "self,vader"},
        {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_pml": "ucx"},
        {"UCX_TLS": "all"},
        {"UCX_TLS": "rc,sm,self,cuda"},
        {"UCX_TLS": "^cma"},
        {"I_MPI_FABRICS": "shm:ofi"},
        {"OMPI_MCA_smsc": "cma"},
        {"OMPI_MCA_smsc": "^knem"},
        {"NCCL_DEBUG": "WARN"},
        {"OMPI_MCA_mpi_yield_when_idle": "0"},
        {"OMPI_MCA_btl_tcp_if_include": "ib0"},
        {"OMP_NUM_THREADS": "4"},
    ],
)
def test_a_setting_that_spoils_nothing_is_none_of_our_business(variables):
    assert check_settings(with_variables(**variables), None) == []


def test_what_another_mpi_would_read_does_not_count():
    facts = with_variables(OMPI_MCA_btl="self", MPIR_CVAR_NOLOCAL="1")
    names = {family: check_settings(facts, family)[0].text for family in ("openmpi", "mpich")}
    assert names["openmpi"].startswith("OMPI_MCA_btl")
    assert names["mpich"].startswith("MPIR_CVAR_NOLOCAL")
    assert len(check_settings(facts, None)) == 2


def test_settings_in_files_are_read_as_what_reads_them_does(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "ucx"
    texts = {
        ".openmpi/mca-params.conf": "# btl = self\n  btl = self,tcp  \n\nodd line\nempty =\n",
        ".prte/mca-params.conf": "plm_ssh_agent = ssh -p 22\nx_password = hidden\n",
        ".pmix/mca-params.conf": "ptl_base_if_include=lo\n",
        "ucx.conf": "UCX_TLS=tcp\n[machine]\nUCX_TLS=sm\n",
        ".nccl.conf": "NCCL_DEBUG=INFO\n",
    }
    write_tree(home, texts)
    write_tree(folder, {"ucx.conf": "UCX_TLS=sm,self\n"})
    found = read_settings(Path("/"), {"HOME": str(home), "UCX_CONFIG_DIR": str(folder)})
    own = {key: value for key, value in found.items() if "~" in key or "$" in key}
    assert own == {
        "OMPI_MCA_btl in ~/.openmpi/mca-params.conf": "self,tcp",
        "PRTE_MCA_plm_ssh_agent in ~/.prte/mca-params.conf": "ssh -p 22",
        "PMIX_MCA_ptl_base_if_include in ~/.pmix/mca-params.conf": "lo",
        "UCX_TLS in ~/ucx.conf": "tcp",
        "NCCL_DEBUG in ~/.nccl.conf": "INFO",
        "UCX_TLS in $UCX_CONFIG_DIR/ucx.conf": "sm,self",
    }
    findings = check_settings(replaced(settings=found), "openmpi")
    assert [finding.value for finding in findings if "~" in finding.text] == ["self,tcp", "INFO"]
    assert "take it out of ~/.openmpi/mca-params.conf" in said(findings[0])
    # A variable beats a file.
    facts = replaced(settings=found, environment={"OMPI_MCA_btl": "self,sm"})
    assert not any("OMPI_MCA_btl" in each.text for each in check_settings(facts, "openmpi"))


def test_a_file_of_settings_is_hostile_text(tmp_path):
    evil = "btl = self\x1b[2J\n" + "x" * 5000 + " = 1\n" + "y = " + "z" * 5000 + "\n"
    write_tree(tmp_path, {".openmpi/mca-params.conf": evil.encode() + b"\xff = \xff\n"})
    found = read_settings(Path("/"), {"HOME": str(tmp_path)})
    assert not any("~" in key for key in found)
