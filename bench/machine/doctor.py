"""What is here, what it means for measuring, and what to fix first."""

import os
import platform
from pathlib import Path

import msgspec

from bench.machine import checks_devices, checks_gpu_mpi, checks_host, checks_mpi
from bench.machine.busy import BusyProcess, check_busy, foreign_busy
from bench.machine.facts import NodeFacts, gather_facts
from bench.machine.mpi import MpiInstall, find_mpi, two_mpi_wheels
from bench.machine.ucx import find_ucx_wheel
from bench.record import Finding

__all__ = ["BusyProcess", "Diagnosis", "diagnose", "examine", "foreign_busy"]

_ORDER = ("stop", "warning", "note")

_FACT_CHECKS = (
    checks_host.check_cores,
    checks_host.check_affinity,
    checks_host.check_quota,
    checks_host.check_governor,
    checks_host.check_memory,
    checks_host.check_numba,
    checks_devices.check_gpu_software,
    checks_devices.check_gpu_links,
    checks_devices.check_gpu_state,
    checks_devices.check_nics,
    checks_devices.check_rdma_ports,
    checks_host.check_blas_threads,
    checks_host.check_smt,
    checks_host.check_hypervisor,
)
"""Checks that need the facts alone, those that cost a measurement most first."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A node as found, and what was found wrong with it, gravest first."""

    facts: NodeFacts
    mpi: MpiInstall | None
    findings: tuple[Finding, ...]

    @property
    def stopped(self) -> bool:
        """Whether `run quick` would fail here."""
        return any(finding.level == "stop" for finding in self.findings)


def examine(root: Path = Path("/")) -> Diagnosis:
    """Look at the node below `root` and at what runs on it now; takes about a second."""
    wrong_platform = checks_host.check_platform(platform.system())
    if wrong_platform:
        return Diagnosis(facts=NodeFacts(), mpi=None, findings=tuple(wrong_platform))
    # Others' processes first: gathering and probing load this machine themselves.
    busy = foreign_busy(root=root)
    facts, mpi = gather_facts(root), find_mpi()
    findings = [
        *checks_mpi.check_mpi(mpi),
        *checks_mpi.check_wheels(two_mpi_wheels()),
        *checks_gpu_mpi.check_gpu_mpi(facts, mpi, find_ucx_wheel(), os.environ),
        *check_busy(busy),
        *checks_host.check_load(facts, checks_host.read_load(root)),
        *checks_host.check_shm(checks_host.read_shm(root)),
        *diagnose(facts),
    ]
    return Diagnosis(facts=facts, mpi=mpi, findings=_by_gravity(findings))


def diagnose(facts: NodeFacts) -> tuple[Finding, ...]:
    """Return what the facts of a node alone say, gravest first; for nodes other than this one."""
    return _by_gravity([finding for check in _FACT_CHECKS for finding in check(facts)])


def _by_gravity(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.level)))
