# ruff: noqa: S108 - /dev/shm is what this is about
"""Checks of what ranks of one node share memory through: /dev/shm, and cross-memory attach."""

from bench.core.errors import printable
from bench.core.records import Finding
from bench.core.units import parse_bytes
from bench.machine.describe import format_count, format_memory
from bench.machine.facts import NodeFacts
from bench.machine.shared_memory import POSSIBLE

RANK_BYTES = parse_bytes("16 MiB") + parse_bytes("1 MiB")
"""What a rank takes of /dev/shm: a segment of Open MPI's `sm` and what is kept beside it."""
LEAST_BYTES = parse_bytes("64 MiB")
"""Docker's default is as much, and some ranks fill it."""


def check_shm(facts: NodeFacts) -> list[Finding]:
    """Check that /dev/shm is memory, can be written, and holds what a rank on each core takes."""
    shared, cores = facts.shared_memory, facts.cpu.usable_cores or 2
    if shared.kind not in (None, "tmpfs"):
        return [
            Finding(
                name="shm-kind",
                level="warning",
                text=f"/dev/shm is of kind {printable(shared.kind)}, not tmpfs: messages between "
                "ranks of one node may pass through a disk",
                advice="`mount -t tmpfs tmpfs /dev/shm`",
                value=printable(shared.kind),
                limit="tmpfs",
            )
        ]
    if shared.read_only:
        return [
            Finding(
                name="shm-read-only",
                level="warning",
                text="/dev/shm is read-only: MPI keeps the messages between ranks of one node "
                "elsewhere, which may be a disk, or fails",
                advice="`mount -o remount,rw /dev/shm`",
            )
        ]
    needed = max(LEAST_BYTES, cores * RANK_BYTES)
    if shared.free is None or shared.free >= needed:
        return []
    return [
        Finding(
            name="small-shm",
            level="warning",
            text=f"{format_memory(shared.free)} of {format_memory(shared.size)} are free in "
            f"/dev/shm, and ranks on {format_count(cores, 'core')} take up to "
            f"{format_memory(needed)}: MPI keeps their messages there, and without room a rank "
            "dies of signal 7 or takes a slower path",
            advice="in a container `--shm-size=1g` or `--ipc=host`; else remove what fills it, or "
            "`mount -o remount,size=50% /dev/shm`",
            value=shared.free,
            limit=needed,
            unit="B",
        )
    ]


def check_cross_attach(facts: NodeFacts) -> list[Finding]:
    """Check that a rank may copy from the memory of another one on its node."""
    shared = facts.shared_memory
    if shared.cross_attach in (None, POSSIBLE):
        return []
    if shared.ptrace_scope is not None and shared.ptrace_scope > 1:
        advice = "`sysctl -w kernel.yama.ptrace_scope=1`"
        if shared.ptrace_scope > 2:
            advice = "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d, and boot: 3 cannot be undone"
    elif facts.system.container:
        advice = (
            "start the container with `--cap-add=SYS_PTRACE`, or with a seccomp profile that lets "
            "process_vm_readv through"
        )
    else:
        advice = (
            "give back CAP_SYS_PTRACE, or take away the filter of system calls (seccomp) that "
            "forbids process_vm_readv"
        )
    return [
        Finding(
            name="cross-attach",
            level="warning",
            text="a process may not copy from the memory of another one "
            f"(cross-memory attach {printable(shared.cross_attach)}): MPI copies large messages "
            "between ranks of one node twice, which takes up to half of their bandwidth",
            advice=advice,
            value=printable(shared.cross_attach),
            limit=POSSIBLE,
        )
    ]
