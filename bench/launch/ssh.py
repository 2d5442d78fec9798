"""Asks hosts over SSH, all at once and before any job, whether they can run a worker."""

import shlex
import shutil
import socket
import subprocess
import sys
import time

from bench.core.errors import LaunchError, printable

_TIMEOUT_S = 20.0
_CONNECT_S = 5
_QUESTION = "import bench, sys; print(bench.__version__)"


def find_unfit(hosts: tuple[str, ...], version: str) -> list[str]:
    """Return a line for each host that does not answer, lacks the package, or has another version.

    Args:
        hosts: checked names.
        version: of clusterbench here.

    Raises:
        LaunchError: where there is no ssh.
    """
    here = {socket.gethostname(), socket.gethostname().partition(".")[0], "localhost"}
    asked = {host: _ask(host) for host in hosts if host not in here}
    deadline = time.monotonic() + _TIMEOUT_S
    lines = []
    for host, process in asked.items():
        try:
            said, error = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            lines.append(f"{host}: no answer over ssh within {_TIMEOUT_S:.0f} s")
            continue
        problem = _problem(process.returncode, said.strip(), error.strip(), version)
        if problem:
            lines.append(f"{host}: {problem}")
    return lines


def _ask(host: str) -> "subprocess.Popen[str]":
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}", "--", host]
    question = shlex.join([sys.executable, "-c", _QUESTION])
    ssh = shutil.which("ssh")
    if ssh is None:
        raise LaunchError("ssh was not found; install the package openssh-client")
    return subprocess.Popen(
        [ssh, *options, question],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _problem(status: int, said: str, error: str, version: str) -> str | None:
    last = printable(error.splitlines()[-1], 200) if error else ""
    if status == 255:
        return f"ssh failed: {last or 'no reason given'}"
    if status != 0:
        return f"no clusterbench for {sys.executable} there: {last or f'exit status {status}'}"
    if said != version:
        return f"has clusterbench {printable(said)}, here it is {version}"
    return None
