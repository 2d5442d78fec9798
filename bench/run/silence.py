"""Asks the hosts of a silent job how its ranks are: stopped, dead, or no answer at all.

Ranks are asked only once a deadline has passed, by reading the kernel's word about each process,
here or over ssh. While a case is measured nothing is asked and nothing runs.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from bench.core.errors import LaunchError, printable
from bench.core.events import RankFacts
from bench.core.hostnames import is_host
from bench.launch.here import is_here
from bench.launch.ssh import SSH_FAILED, Answer, ask_hosts, last_line

_TIMEOUT_S = 10.0
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
"""Words of an ssh that reached a host which lets nobody in: nothing is known of the ranks."""


class _States(NamedTuple):
    """The state letter of each process that a host has, or why that is not known."""

    states: dict[int, str] | None
    why: str = ""
    reached: bool = True


def ask_ranks(ranks: Sequence[RankFacts]) -> list[str]:
    """Return what is wrong with ranks, by rank and host, or that nobody knows.

    It takes some 10 s where hosts do not answer, and less than one where they do.

    Args:
        ranks: of a running job, as they reported where they run.
    """
    by_host: dict[str, list[int]] = {}
    for number, rank in enumerate(ranks):
        by_host.setdefault(rank.host, []).append(number)
    pids = {
        host: {number: ranks[number].pid for number in numbers} for host, numbers in by_host.items()
    }
    states = _ask({host: tuple(those.values()) for host, those in pids.items()})
    wrong = [line for host in pids for line in _describe(host, pids[host], states[host])]
    if not wrong:
        return [f"all {len(ranks)} ranks still run; it is not known which one the others wait for"]
    more = [f"and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
    return wrong[:_MOST_NAMED] + more


def find_silent_hosts(hosts: Collection[str]) -> dict[str, str]:
    """Return the hosts that cannot be reached over ssh now, and why.

    Args:
        hosts: where ranks were started over ssh.
    """
    states = _ask(dict.fromkeys(hosts, ()))
    return {
        host: f"no answer over ssh: {found.why}"
        for host, found in states.items()
        if not found.reached
    }


def _describe(host: str, pids: dict[int, int], answer: _States) -> list[str]:
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


def _ask(pids: Mapping[str, Sequence[int]]) -> dict[str, _States]:
    """Ask each host for the states of its processes, and thereby whether it answers at all."""
    questions = {
        host: ("cat", *(f"/proc/{pid}/stat" for pid in those))
        for host, those in pids.items()
        if is_host(host)
    }
    unknown = dict.fromkeys(pids, _States(None, "no host name"))
    try:
        answers = ask_hosts(questions, _TIMEOUT_S)
    except LaunchError:
        return dict.fromkeys(pids, _States(None, "no ssh here"))
    return unknown | {host: _read_states(host, answer) for host, answer in answers.items()}


def _read_states(host: str, answer: Answer) -> _States:
    if answer.status is None:
        return _States(None, f"none within {_TIMEOUT_S:.0f} s", reached=False)
    if answer.status == SSH_FAILED and not is_here(host):
        why = last_line(answer) or "no reason given"
        reached = any(word in answer.error for word in _REFUSALS)
        return _States(None, why, reached=reached)
    return _States({int(pid): state for pid, state in _STAT.findall(answer.output)})
