"""Checks of limits that a shell, a login or a scheduler set, where they are in the way of ranks."""

from typing import NamedTuple

from bench.core.records import Finding
from bench.core.units import format_bytes, parse_bytes
from bench.machine.facts import NodeFacts

_FILES, _FILES_EACH = 64, 4
"""Of a launcher, and for each of its ranks: standard input, output and error, and a socket."""
_PROCESSES, _PROCESSES_EACH = 64, 8
"""Of a user who does something else too, and of a rank: its threads, those of MPI, and its BLAS's
that wait."""
_ADDRESS_SPACE = parse_bytes("2 GiB")
"""What a rank with NumPy, numba and MPI maps; little of it is memory."""
_FILE_SIZE = parse_bytes("1 GiB")
_STACK = parse_bytes("1 MiB")


class _Least(NamedTuple):
    option: str
    """Of ulimit."""
    least: int | None
    """Below which it is in the way; None where any limit is."""
    what: str
    harm: str


def check_limits(facts: NodeFacts) -> list[Finding]:
    """Check the limits of open files, processes, memory and files against what ranks take."""
    limits = facts.limits
    if limits is None:
        return []
    ranks = facts.cpu.usable_cores or 2
    rules = {
        "open_files": _Least(
            "n",
            _FILES + _FILES_EACH * ranks,
            "open files",
            "a launcher with a rank on each core has more",
        ),
        "processes": _Least(
            "u",
            _PROCESSES + _PROCESSES_EACH * ranks,
            "processes and threads of this user",
            "with a rank on each core there are more, and a library that cannot start a thread "
            "dies",
        ),
        "address_space": _Least(
            "v", _ADDRESS_SPACE, "of address space", "a rank maps more, little of which is memory"
        ),
        "file_size": _Least(
            "f",
            _FILE_SIZE,
            "in a file",
            "a rank or this program is killed by signal 25 as soon as a file of the run, or a "
            "segment of shared memory, is larger",
        ),
        "stack": _Least(
            "s", _STACK, "of stack", "threads of a BLAS overrun it, and the rank dies of signal 11"
        ),
    }
    if facts.rdma:
        rules["locked_memory"] = _Least(
            "l",
            None,
            "of locked memory",
            "a network card reads only memory that is locked, and larger messages fail or are "
            "copied",
        )
    return [
        _find(name, value, rule)
        for name, rule in rules.items()
        if (value := getattr(limits, name)) is not None
        and (rule.least is None or value < rule.least)
    ]


def _find(name: str, value: int, rule: _Least) -> Finding:
    counted = name in ("open_files", "processes")
    # The shell counts them in KiB.
    enough = "unlimited" if rule.least is None else rule.least // (1 if counted else 1024)
    return Finding(
        name=f"limit-{name.replace('_', '-')}",
        level="warning",
        text=f"at most {value if counted else format_bytes(value)} {rule.what} "
        f"(ulimit -{rule.option}): {rule.harm}",
        advice=f"`ulimit -{rule.option} {enough}` in the shell, or in the limits of the login, the "
        "service or the scheduler",
        value=value,
        limit=rule.least if rule.least is not None else "unlimited",
        unit=None
        if rule.least is None
        else ("files" if name == "open_files" else "processes")
        if counted
        else "B",
    )
