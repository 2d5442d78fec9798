"""Namespaces kept as files in the state folder, and the processes in them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labkit.cluster import STATE
from labkit.errors import LabError

SWITCH = "switch"
FOLDER = STATE / "namespaces"
OPTIONS = {"net": "--net", "uts": "--uts", "ipc": "--ipc", "mnt": "--mount"}
"""The options of unshare and nsenter, by the name that the kernel gives to the kind."""
STEP_TIMEOUT_S = 120
END_TIMEOUT_S = 60


def run(*tokens: object, stdin: str = "") -> str:
    """Run a command and return what it prints."""
    words = [str(token) for token in tokens]
    try:
        answer = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(words)}` does not end", 4) from None
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        raise LabError(f"`{' '.join(words)}` failed: {reason}", 4)
    return answer.stdout


def inside(name: str, *tokens: object, stdin: str = "") -> str:
    """Run a command on a host or on the switch and return what it prints."""
    return run(*entry(name), *tokens, stdin=stdin)


def entry(name: str) -> tuple[str, ...]:
    """Return the tokens that make the command after them run on a host or on the switch."""
    return ("nsenter", *_options(name), "--")


def make_namespaces(name: str, kinds: tuple[str, ...]) -> None:
    """Make namespaces that live until the state folder is unmounted and no process is in them."""
    folder = FOLDER / name
    folder.mkdir(parents=True)
    for kind in kinds:
        (folder / kind).touch()
    run("unshare", *_options(name), "true")


def mount_sysfs(name: str) -> None:
    """Mount /sys anew: it shows the network of the process that mounted it."""
    groups = FOLDER / name / "cgroup"
    groups.mkdir()
    inside(name, "mount", "--rbind", "/sys/fs/cgroup", groups)
    inside(name, "mount", "-t", "sysfs", "sysfs", "/sys")
    inside(name, "mount", "--move", groups, "/sys/fs/cgroup")


def find_processes() -> Iterator[int]:
    """Yield the processes that are in a network or mount namespace of the lab."""
    lab = {_identity(file) for file in FOLDER.glob("*/*") if os.path.ismount(file)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            own = {_identity(process / "ns" / kind) for kind in ("net", "mnt")}
        except OSError:
            continue  # it has ended, or even root may not look at it: neither was started here
        if own & lab:
            yield int(process.name)


def end_processes(is_wanted: Callable[[int], bool] = lambda _pid: True) -> None:
    """Kill what runs in the lab, all of it or what is wanted, and what that starts meanwhile."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while pids := [pid for pid in find_processes() if is_wanted(pid)]:
        if time.monotonic() > deadline:
            raise LabError(f"processes {pids} of the lab do not end; try scripts/lab down again", 4)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _options(name: str) -> list[str]:
    files = {option: FOLDER / name / kind for kind, option in OPTIONS.items()}
    return [f"{option}={file}" for option, file in files.items() if file.exists()]


def _identity(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino
