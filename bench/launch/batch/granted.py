"""The nodes that a batch system has granted to this process, as its variables tell.

Variables outlive their job: a shell keeps them, `env` hands them on. They are believed where this
machine is one of the nodes, or where `salloc` was started on it.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.hostlists.hostfile import read_hostfile
from bench.core.hostlists.hosts import Entry, HostList, add_up, leave_out_empty
from bench.core.hostlists.sets import expand_term, expand_terms, refuse_no_nodes, split_terms
from bench.core.hostlists.typed import read_count
from bench.core.hostnames import fold_in_order
from bench.launch.here import is_here

_TASKS = re.compile(r"(\d{1,7})(?:\(x(\d{1,7})\))?", re.ASCII)

Environment = Mapping[str, str]


def find_granted(environment: Environment, says: Callable[[str], None]) -> HostList | None:
    """Return the nodes of the job that this process is in; None where it is in none.

    Args:
        environment: where variables of batch systems are.
        says: told of variables that are not believed, and why.
    """
    for source, read in _sources(environment):
        try:
            found = read()
        except RequestError as error:
            says(f"{error}; ranks run here")
            continue
        if any(map(is_here, found.names)) or _allocated_here(source, environment):
            return msgspec.structs.replace(found, granted=True)
        says(
            f"{source} is of another place: {printable(fold_in_order(found.names), 80)}, and this "
            "machine is none of them; ranks run here"
        )
    return None


def _sources(environment: Environment) -> Iterator[tuple[str, Callable[[], HostList]]]:
    """Yield each variable that names nodes, with what reads it."""
    tasks = environment.get("SLURM_TASKS_PER_NODE", "").strip()
    readers: dict[str, Callable[[str, str], HostList]] = {
        "SLURM_JOB_NODELIST": partial(read_slurm, tasks=tasks),
        "SLURM_NODELIST": partial(read_slurm, tasks=tasks),
        "PBS_NODEFILE": _read_file,
        "LSB_DJOB_HOSTFILE": _read_file,
        "LSB_MCPU_HOSTS": read_pairs,
        "LSB_HOSTS": read_repeated,
        "PE_HOSTFILE": _read_file,
    }
    if environment.get("SLURM_JOB_NODELIST", "").strip():
        # The older name of the same.
        del readers["SLURM_NODELIST"]
    for name, read in readers.items():
        value = environment.get(name, "").strip()
        if value:
            yield name, partial(read, value, name)


def read_slurm(nodes: str, source: str, tasks: str = "") -> HostList:
    """Return the nodes of a Slurm job.

    Args:
        nodes: such as `node[001-004]`.
        source: for messages.
        tasks: of each of them, such as `4(x2),3,1`; empty where that is not said.

    Raises:
        RequestError: where nodes are no set.
    """
    refuse_no_nodes(nodes, source)
    names = expand_terms(split_terms(nodes), source)
    counts = read_tasks(tasks, len(names)) if tasks else ()
    if counts is None:
        found = HostList(names=_once(names, source), source=source)
        return found.without_counts(f"SLURM_TASKS_PER_NODE is not of {len(names)} nodes")
    entries = [Entry(n, c) for n, c in zip(names, counts or [None] * len(names), strict=True)]
    return _finish(entries, source)


def read_tasks(text: str, nodes: int) -> tuple[int, ...] | None:
    """Return Slurm's counts such as `4(x2),3`, written out; None where they are of other nodes."""
    counts: list[int] = []
    for word in text.replace(" ", "").split(","):
        match = _TASKS.fullmatch(word)
        repeats = int(match[2] or 1) if match else nodes + 1
        if match is None or len(counts) + repeats > nodes:
            return None
        counts += [int(match[1])] * repeats
    return tuple(counts) if len(counts) == nodes else None


def read_pairs(text: str, source: str) -> HostList:
    """Return LSF's hosts and counts in turn, such as `a 4 b 2`.

    Raises:
        RequestError: where they are none.
    """
    words = text.split()
    if len(words) % 2:
        raise RequestError(f"{source}: {printable(text)!r} is not a host and a count in turn")
    entries = [
        Entry(name, read_count(count, source))
        for word, count in zip(words[::2], words[1::2], strict=True)
        for name in expand_term(word, source)
    ]
    return _finish(entries, source)


def read_repeated(text: str, source: str) -> HostList:
    """Return LSF's hosts, each as often as it has slots, such as `a a b`.

    Raises:
        RequestError: where one is no host.
    """
    entries = [Entry(name, 1) for word in text.split() for name in expand_term(word, source)]
    return _finish(entries, source)


def _read_file(path: str, source: str) -> HostList:
    return read_hostfile(Path(path), f"{source} ({printable(path, 120)})")


def _finish(entries: list[Entry], source: str) -> HostList:
    names, counts, _ = leave_out_empty(*add_up(entries, source), source)
    return HostList(names=names, counts=counts, source=source)


def _once(names: list[str], source: str) -> tuple[str, ...]:
    return add_up((Entry(name) for name in names), source)[0]


def _allocated_here(source: str, environment: Environment) -> bool:
    """Return whether `salloc` was started on this machine, and with it a shell for other nodes."""
    host = environment.get("SLURM_SUBMIT_HOST", "")
    return (
        source.startswith("SLURM") and bool(shutil.which("srun")) and bool(host) and is_here(host)
    )
