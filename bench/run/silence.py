"""Asks the hosts of a silent job how its ranks are: stopped, dead, or no answer at all.

Ranks are asked only once a deadline has passed, by reading the kernel's word about each process,
here or over ssh. While a case is measured nothing is asked and nothing runs.
"""

import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bench.core.errors import RequestError, printable
from bench.core.events import RankFacts
from bench.core.hostnames import parse_hosts

_CONNECT_S = 5
_TIMEOUT_S = 10.0
_AT_ONCE = 64
_MOST_NAMED = 8
_STAT = re.compile(r"^(\d+) \(.*\) ([A-Za-z])", re.M)
_STATES = {
    "T": "is stopped",
    "t": "is stopped by a debugger",
    "Z": "is dead",
    "X": "is dead",
    "D": "waits in the kernel",
}
_REFUSALS = ("Permission denied", "Host key verification failed", "Connection refused")
"""Words of an ssh that reached a host which lets nobody in: that says nothing of the ranks."""


class _Answer(NamedTuple):
    """What a host said: the state letter of each process that is there, or why there is none."""

    states: dict[int, str] | None
    why: str = ""
    reached: bool = True


def ask_ranks(ranks: Sequence[RankFacts]) -> list[str]:
    """Return what is wrong with ranks, by rank and host, or that nobody knows.

    It takes some 10 s where hosts do not answer, and less than one where they do.

    Args:
        ranks: of a running job, as they told where they run.
    """
    by_host: dict[str, list[int]] = {}
    for number, rank in enumerate(ranks):
        by_host.setdefault(rank.host, []).append(number)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        pids = [[ranks[number].pid for number in numbers] for numbers in by_host.values()]
        answers = list(pool.map(_ask, by_host, pids))
    wrong = [
        line
        for (host, numbers), answer in zip(by_host.items(), answers, strict=True)
        for line in _describe(host, {number: ranks[number].pid for number in numbers}, answer)
    ]
    if not wrong:
        return [f"all {len(ranks)} ranks still run; it is not known which one the others wait for"]
    more = [f"and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
    return wrong[:_MOST_NAMED] + more


def find_silent_hosts(hosts: Collection[str]) -> dict[str, str]:
    """Return the hosts that cannot be reached over ssh now, and why.

    Args:
        hosts: where ranks were started over ssh.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda host: _ask(host, []), hosts))
    return {
        printable(host): f"no answer over ssh: {answer.why}"
        for host, answer in zip(hosts, answers, strict=True)
        if not answer.reached
    }


def _describe(host: str, pids: dict[int, int], answer: _Answer) -> list[str]:
    if answer.states is None:
        name = f"rank{'s' * (len(pids) > 1)} {', '.join(map(str, pids))} on {printable(host)}"
        how = "not asked" if answer.reached else "no answer over ssh"
        return [f"{name}: {how}: {answer.why}"]
    lines = []
    for number, pid in pids.items():
        if pid not in answer.states:
            # In a container that counts processes for itself its number means nothing outside.
            lines.append(f"rank {number} on {printable(host)} is not seen (process {pid})")
        elif answer.states[pid] in _STATES:
            lines.append(f"rank {number} on {printable(host)} {_STATES[answer.states[pid]]}")
    return lines


def _ask(host: str, pids: list[int]) -> _Answer:
    question = ["cat", *(f"/proc/{pid}/stat" for pid in pids)]
    here = host == socket.gethostname()
    if not here:
        ssh = shutil.which("ssh")
        if ssh is None or not _is_name(host):
            return _Answer(None, "no ssh here" if ssh is None else "no host name")
        options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}")
        question = [ssh, *options, "--", host, shlex.join(question)]
    try:
        done = subprocess.run(
            question,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Answer(None, f"none within {_TIMEOUT_S:.0f} s", reached=False)
    if not here and done.returncode == 255:
        last = printable((done.stderr.strip().splitlines() or ["no reason given"])[-1], 120)
        return _Answer(None, last, reached=any(word in done.stderr for word in _REFUSALS))
    return _Answer({int(pid): state for pid, state in _STAT.findall(done.stdout)})


def _is_name(host: str) -> bool:
    try:
        return parse_hosts(host) == (host,)
    except RequestError:
        return False
