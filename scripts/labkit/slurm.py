"""Slurm on the hosts: slurmctld on the first, munged and slurmd on each.

Whatever the daemons keep is in the state folder, so with it Slurm is gone too.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.cluster import STATE, Cluster
from labkit.errors import LabError
from labkit.namespaces import end_processes, inside

FOLDER = STATE / "slurm"
CONFIG = FOLDER / "etc"
LOCAL = FOLDER / "local"
"""One path in the configuration of all hosts; on each a folder of its own is mounted there."""
READY = FOLDER / "ready"
"""The last file to be made: without it, Slurm is not up."""
KEY = FOLDER / "munge.key"

CLUSTER = "clusterbench_lab"
PARTITION = "lab"
NODE_CPUS = 8
"""More than the machine may have, so that several ranks fit on every host."""
START_TIMEOUT_S = 120

PACKAGES = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "srun": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "munged": "munge",
}
"""Every program that Slurm needs, and its package in Debian."""
DAEMONS = ("slurmctld", "slurmd", "slurmstepd", "munged")
COMMANDS = ("srun", "salloc", "sbatch", "sattach", "squeue", "sinfo", "scancel")


def start_slurm(cluster: Cluster) -> None:
    """Start Slurm and wait until all hosts are idle, or leave nothing of it."""
    with _alone():
        if READY.exists():
            raise LabError("Slurm is up; scripts/lab slurm down ends it")
        _check_names(cluster)
        _remove(cluster)  # what an `up` that was killed has left
        try:
            _write_files(cluster)
            for host in cluster.hosts:
                inside(host, "mount", "--bind", CONFIG, "/etc/slurm")
                inside(host, "mount", "--bind", FOLDER / host, LOCAL)
                _start_munged(host)
            inside(cluster.hosts[0], "slurmctld")
            for host in cluster.hosts:
                inside(host, "slurmd")
            _wait_for_nodes(cluster)
        except BaseException:
            _remove(cluster)
            raise
        READY.touch()


def end_slurm(cluster: Cluster) -> None:
    """End the daemons and all jobs, and remove their files."""
    with _alone():
        _remove(cluster)


def has_pmix(cluster: Cluster) -> bool:
    """Return whether Slurm can start ranks by PMIx; `srun --mpi=list` names it in any case."""
    try:
        inside(cluster.hosts[0], "srun", "--mpi=pmix", "--ntasks=1", "true")
    except LabError:
        return False
    return True


def configure(cluster: Cluster) -> str:
    """Return the text of slurm.conf, the same for all hosts."""
    first, last = cluster.hosts[0], cluster.hosts[-1]
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    lines = [
        f"ClusterName={CLUSTER}",
        f"SlurmctldHost={first}",
        # The files of the lab are root's, and so are all jobs in it.
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        "CredType=cred/munge",
        f"AuthInfo=socket={LOCAL}/munge.socket",
        f"StateSaveLocation={FOLDER}/state",
        f"SlurmdSpoolDir={LOCAL}/spool",
        f"SlurmctldPidFile={LOCAL}/slurmctld.pid",
        f"SlurmdPidFile={LOCAL}/slurmd.pid",
        f"SlurmctldLogFile={LOCAL}/slurmctld.log",
        f"SlurmdLogFile={LOCAL}/slurmd.log",
        # PMIx makes a folder there that is named after the job: hosts share /tmp.
        f"TmpFS={LOCAL}/tmp",  # noqa: S108
        # Neither needs cgroups, which the hosts share, or may not have.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "MpiDefault=none",
        "MailProg=/bin/true",
        # Take the CPUs that are given here for true: the machine has others.
        "SlurmdParameters=config_overrides",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        # A host that drops off is noticed within two minutes.
        "SlurmdTimeout=60",
        "ReturnToService=2",
        "KillWait=5",
        f"NodeName=h[1-{last[1:]}] CPUs={NODE_CPUS} RealMemory={memory_mib}",
        f"PartitionName={PARTITION} Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _alone() -> Iterator[None]:
    """Keep another `slurm up` or `slurm down` out; the lock ends with this process."""
    folder = os.open(STATE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError("another scripts/lab slurm is at work; wait until it has ended") from None
    else:
        yield
    finally:
        os.close(folder)


def _check_names(cluster: Cluster) -> None:
    """Raise where hosts do not call themselves by their names, by which slurmd knows its node."""
    own = inside(cluster.hosts[-1], "cat", "/proc/sys/kernel/hostname").strip()
    if own != cluster.hosts[-1]:
        raise LabError(f"all hosts call themselves {own}; Slurm needs a lab without --hostname")


def _write_files(cluster: Cluster) -> None:
    for folder in (CONFIG, LOCAL, FOLDER / "state"):
        folder.mkdir(parents=True)
    for host in cluster.hosts:
        for name in ("spool", "tmp"):
            (FOLDER / host / name).mkdir(parents=True)
    (CONFIG / "slurm.conf").write_text(configure(cluster))
    # Unless it is named, slurmd looks for mounted cgroups and starts only with some kinds of them.
    (CONFIG / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    KEY.touch(mode=0o600)
    KEY.write_bytes(os.urandom(128))


def _start_munged(host: str) -> None:
    """Start the munged of a host: one for all would call their copies of a credential replays."""
    names = ("socket", "pid-file", "log-file", "seed-file")
    files = [f"--{name}={LOCAL}/munge.{name.removesuffix('-file')}" for name in names]
    # By force, since munged wants a path that every user may enter.
    inside(host, "munged", "--force", "--num-threads=1", f"--key-file={KEY}", *files)


def _wait_for_nodes(cluster: Cluster) -> None:
    controller = cluster.hosts[0]
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        idle = set()
        with suppress(LabError):  # slurmctld does not listen yet
            shown = inside(controller, "sinfo", "--noheader", "--Node", "--format=%N %t")
            idle = {line.split()[0] for line in shown.splitlines() if line.endswith(" idle")}
        logs = [FOLDER / host / "slurmd.log" for host in cluster.hosts if host not in idle]
        if not logs:
            return
        logs.append(FOLDER / controller / "slurmctld.log")
        reason = _find_line(logs, "fatal:")  # the last word of a daemon
        if time.monotonic() > deadline:
            reason = reason or _find_line(logs, "error:") or "its logs name no error"
        if reason:
            raise LabError(f"Slurm does not start: {reason}", 4)
        time.sleep(0.1)


def _find_line(logs: list[Path], kind: str) -> str:
    """Return the last such line of the first log that has any, after the name of its host."""
    for log in (file for file in logs if file.exists()):
        lines = log.read_text(errors="replace").splitlines()
        if found := [line for line in lines if kind in line]:
            return f"{log.parent.name}: {found[-1]}"
    return ""


def _remove(cluster: Cluster) -> None:
    end_processes(_is_of_slurm)
    for host in cluster.hosts:
        mounts = inside(host, "cat", "/proc/self/mounts").splitlines()
        targets = {line.split()[1] for line in mounts} & {"/etc/slurm", str(LOCAL)}
        for target in targets:
            inside(host, "umount", "--lazy", target)
    if FOLDER.exists():
        shutil.rmtree(FOLDER)


def _is_of_slurm(pid: int) -> bool:
    """Return whether a process of the lab is Slurm's, or of a job, which Slurm's variable shows."""
    process = Path("/proc", str(pid))
    try:
        program = (process / "exe").readlink().name.removesuffix("-wlm")
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended
    return program in DAEMONS + COMMANDS or f"SLURM_CLUSTER_NAME={CLUSTER}".encode() in variables
