"""Asks hosts over SSH: a window of hosts at a time, a deadline for each of them."""

import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from bench.core.errors import LaunchError, printable
from bench.core.hostnames import is_host
from bench.core.program import text_command
from bench.launch.here import is_here
from bench.machine.cpu import count_rank_cores
from bench.machine.interfaces import Network, read_answer, read_network

AT_ONCE = 64
"""Connections at a time: a login node has some hundred files for a process, and a jump host begins
to drop connections that have not yet logged in at 10 to 100 (MaxStartups of sshd)."""
CONNECT_S = 5
FITNESS_S = 20.0
"""For a host to log in and start Python, from a cold network file system too."""
SSH_FAILED = 255
"""Exit status of ssh itself, where it is not that of the command."""
_MARKER = "clusterbench-host "
_QUESTION = (
    f"import bench, socket; print({_MARKER!r} + bench.__version__);"
    "from bench.machine.cpu import count_rank_cores;"
    f"print({_MARKER!r} + socket.gethostname(), count_rank_cores());"
    "from bench.machine.interfaces import print_network; print_network()"
)


class Answer(NamedTuple):
    """What a command on a host printed; the status is None where it took too long."""

    status: int | None
    output: str
    error: str


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host that ranks are to run on."""

    asked: str
    """The name it was asked for by, which ssh and mpirun are given."""
    hostname: str | None = None
    """What it calls itself; None before it has been asked."""
    cores: int | None = None
    """Cores that ranks may use; None where it is not known."""
    network: Network | None = None
    """Its interfaces; None where they are not known."""


def ask_hosts(questions: Mapping[str, Sequence[str]], limit_s: float) -> dict[str, Answer]:
    """Run a command on each host and return what each printed; here without ssh.

    Args:
        questions: the tokens of the command, by the checked name of the host.
        limit_s: seconds that each host has from the moment it is asked.

    Raises:
        LaunchError: where there is no ssh.
    """
    ssh = shutil.which("ssh")
    if ssh is None and not all(map(is_here, questions)):
        raise LaunchError("ssh was not found; install the package openssh-client")
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        answers = pool.map(lambda host: _ask(ssh, host, questions[host], limit_s), questions)
        return dict(zip(questions, answers, strict=True))
    finally:
        # After Ctrl-C the hosts that are still to be asked are not.
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(ssh: str | None, host: str, question: Sequence[str], limit_s: float) -> Answer:
    tokens = list(question)
    if not is_here(host):
        if ssh is None or not is_host(host):
            raise ValueError(f"{host!r} would reach ssh as an option, or there is no ssh")
        options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}")
        tokens = [ssh, *options, "--", host, shlex.join(question)]
    try:
        done = subprocess.run(
            tokens,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, "", "")
    return Answer(done.returncode, done.stdout, done.stderr)


def last_line(answer: Answer) -> str:
    """Return the last line of what went to standard error, safe to print."""
    lines = answer.error.strip().splitlines()
    return printable(lines[-1], 200) if lines else ""


def examine_hosts(hosts: Sequence[str], version: str) -> tuple[list[Host], list[str]]:
    """Ask every host whether it can run a worker.

    Args:
        hosts: checked names.
        version: of clusterbench here.

    Returns:
        The hosts that can, and a line for each that does not answer, lacks the package, or has
        another version of it.

    Raises:
        LaunchError: where there is no ssh.
    """
    remote = [host for host in hosts if not is_here(host)]
    answers = ask_hosts(dict.fromkeys(remote, text_command(_QUESTION)), FITNESS_S)
    fit, unfit = [], []
    for host in hosts:
        if host not in answers:
            fit.append(
                Host(
                    asked=host,
                    hostname=socket.gethostname(),
                    cores=count_rank_cores(),
                    network=read_network(),
                )
            )
        elif problem := _problem(answers[host], version):
            unfit.append(f"{host}: {problem}")
        else:
            fit.append(_read_host(host, answers[host]))
    return fit, unfit


def _marked(answer: Answer) -> list[str]:
    """Return what the question printed, without what a profile of the user's shell adds."""
    lines = answer.output.splitlines()
    return [line.removeprefix(_MARKER) for line in lines if line.startswith(_MARKER)]


def _problem(answer: Answer, version: str) -> str | None:
    if answer.status is None:
        return f"no answer over ssh within {FITNESS_S:.0f} s"
    if answer.status == SSH_FAILED:
        return f"ssh failed: {last_line(answer) or 'no reason given'}"
    found = _marked(answer)
    if found and found[0] != version:
        return f"has clusterbench {printable(found[0])}, here it is {version}"
    if answer.status != 0 or not found:
        why = last_line(answer) or f"exit status {answer.status}"
        return f"no clusterbench for {sys.executable} there: {why}"
    return None


def _read_host(host: str, answer: Answer) -> Host:
    hostname, _, cores = _marked(answer)[-1].rpartition(" ")
    return Host(
        asked=host,
        hostname=hostname or None,
        cores=int(cores) if cores.isdecimal() and cores.isascii() else None,
        network=read_answer(answer.output),
    )
