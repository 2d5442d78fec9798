"""What is here, what it means for measuring, and what to fix first."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.core.records import Finding
from bench.core.verdict import Outcome, Verdict
from bench.machine.busy import BusyProcess, check_busy, foreign_busy
from bench.machine.doctor import devices, gpu_mpi, host, interfaces, sharing
from bench.machine.doctor.limits import check_limits
from bench.machine.doctor.mpi import check_mpi, check_wheels
from bench.machine.doctor.scratch import check_scratch, try_scratch
from bench.machine.doctor.settings import check_settings
from bench.machine.facts import NodeFacts, gather_facts
from bench.machine.interfaces import Interface, read_interfaces
from bench.machine.mpi import MpiInstall, find_mpi, two_mpi_wheels
from bench.machine.parts import place
from bench.machine.ucx import find_ucx_wheel

__all__ = [
    "BusyProcess",
    "Diagnosis",
    "by_gravity",
    "check_node",
    "diagnose",
    "diagnose_process",
    "examine",
    "foreign_busy",
]

_ORDER = ("stop", "warning", "note")

_PROCESS_CHECKS = (
    host.check_cores,
    host.check_affinity,
    host.check_quota,
    host.check_blas_threads,
)
"""Checks of what this process may use. A rank is bound and given its threads: it may use less."""

_NODE_CHECKS = (
    host.check_governor,
    host.check_memory,
    host.check_pages,
    sharing.check_shm,
    sharing.check_cross_attach,
    check_limits,
    host.check_numba,
    devices.check_gpu_software,
    devices.check_gpu_links,
    devices.check_gpu_state,
    devices.check_nics,
    devices.check_interrupts,
    devices.check_rdma_ports,
    host.check_smt,
    host.check_hypervisor,
)
"""Checks of the facts of any node, those that cost a measurement most first."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A node as found, and what was found wrong with it, gravest first."""

    facts: NodeFacts
    mpi: MpiInstall | None
    findings: tuple[Finding, ...]

    @property
    def here(self) -> tuple[Finding, ...]:
        """Those of this process, its MPI and what runs beside it, which no facts show."""
        of_node = diagnose(self.facts)
        return tuple(finding for finding in self.findings if finding not in of_node)

    @property
    def verdict(self) -> Verdict:
        """Whether `run quick` can measure here.

        Where it cannot, nothing is said of the machine, good or bad: it is not measured.
        """
        stops = tuple(finding for finding in self.findings if finding.level == "stop")
        names = ", ".join(dict.fromkeys(finding.name for finding in stops))
        return Verdict(
            claim="`clusterbench run quick` can measure here",
            outcome=Outcome.NOT_MEASURED if stops else Outcome.PASS,
            reason=f"`clusterbench run quick` would fail ({names}): mend that first"
            if stops
            else "ready to measure",
            findings=stops,
        )


def examine(root: Path = Path("/")) -> Diagnosis:
    """Look at the node below `root` and at what runs on it now; takes about a second."""
    wrong_platform = host.check_platform(platform.system())
    if wrong_platform:
        return Diagnosis(facts=NodeFacts(), mpi=None, findings=tuple(wrong_platform))
    # Others' processes first: gathering and probing load this machine themselves.
    busy = foreign_busy(root=root)
    facts, mpi = gather_facts(root), find_mpi()
    family = None if mpi is None else mpi.family
    here = [
        *check_mpi(mpi),
        *check_wheels(two_mpi_wheels()),
        *gpu_mpi.check_gpu_mpi(facts, mpi, find_ucx_wheel(), os.environ),
        *check_busy(busy),
        *host.check_load(facts, host.read_load(root)),
        *host.check_stolen(host.read_stolen(root)),
        *check_scratch(try_scratch(os.environ), family),
        *interfaces.check_interfaces(_interfaces(root), mpi.name if mpi else None, os.environ),
        *check_settings(facts, family),
    ]
    findings = (*_on_host(facts, here), *diagnose_process(facts), *diagnose(facts))
    return Diagnosis(facts=facts, mpi=mpi, findings=by_gravity(findings))


def _interfaces(root: Path) -> tuple[Interface, ...]:
    # The kernel tells of this machine; a stored tree is of another one.
    return read_interfaces() if root == Path("/") else ()


def check_node(facts: NodeFacts) -> tuple[Finding, ...]:
    """Return what the facts of a node show, gravest first; a rank may have gathered them.

    Each is about parts by their names on the node, such as `gpu2`, wherever the node is.
    """
    return by_gravity(finding for check in _NODE_CHECKS for finding in check(facts))


def diagnose(facts: NodeFacts) -> tuple[Finding, ...]:
    """Return what the facts of a node show, about the host that it calls itself."""
    return _on_host(facts, check_node(facts))


def diagnose_process(facts: NodeFacts) -> tuple[Finding, ...]:
    """Return what this process may not use of its node, and which threads it was given."""
    found = by_gravity(finding for check in _PROCESS_CHECKS for finding in check(facts))
    return _on_host(facts, found)


def _on_host(facts: NodeFacts, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    if facts.host is None:
        return tuple(findings)
    return tuple(place(finding, [facts.host]) for finding in findings)


def by_gravity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with the gravest first, in their order else."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.level)))
