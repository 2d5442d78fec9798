"""Hosts that have only a part of the CPUs: a quota of a control group for all their processes."""

import os
import re
import time
from pathlib import Path

from labkit.cluster import STATE, Cluster
from labkit.errors import LabError

CONTROLLER = Path("/sys/fs/cgroup/cpu")
"""Of control groups of version 1."""
GROUPS = CONTROLLER / STATE.name
PERIOD_US = 100_000
"""The kernel's own default: within it a host runs until its quota is used up, and then stands."""
LIMITS = (0.05, 64.0)
_REMOVE_TIMEOUT_S = 10


def parse_cpu(text: str, cluster: Cluster) -> tuple[str, float]:
    """Return the host and the CPUs' worth of time that `h3=0.5` names."""
    match = re.fullmatch(r"(h\d+)=(\d{1,2}(?:\.\d{1,3})?)", text, re.ASCII)
    if match is None:
        raise LabError(f"--cpu {text!r} names no host and share; write such as h3=0.5")
    cluster.links_of(match[1])
    cpus = float(match[2])
    if not LIMITS[0] <= cpus <= LIMITS[1]:
        raise LabError(f"--cpu {text!r} is out of range; give {LIMITS[0]:g} to {LIMITS[1]:g} CPUs")
    return match[1], cpus


def check_controller() -> None:
    """Raise where no quota can be given here."""
    if not (CONTROLLER / "cpu.cfs_quota_us").exists():
        raise LabError(f"--cpu needs the cpu controller of cgroup version 1 at {CONTROLLER}")


def limit_host(host: str, cpus: float) -> None:
    """Make the group of a host; processes that enter it share so many CPUs' worth of time."""
    group = GROUPS / host
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (group / "cpu.cfs_quota_us").write_text(str(round(cpus * PERIOD_US)))


def enter_group(host: str) -> None:
    """Move this process, and with it all that it will start, into the group of a host, if any."""
    _move(GROUPS / host)


def leave_group() -> None:
    """Move this process back to where no quota holds."""
    _move(CONTROLLER)


def _move(group: Path) -> None:
    if GROUPS.is_dir() and group.is_dir():
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_groups() -> None:
    """Remove the groups; the processes in them are gone, or about to be."""
    if not GROUPS.is_dir():
        return
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    for group in (*GROUPS.glob("h*"), GROUPS):
        while group.is_dir():
            try:
                group.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{group} cannot be removed: {error.strerror}", 4) from None
                time.sleep(0.02)
