"""What hosts answer before any job: whether they can take part, and what may keep them apart."""

import os
from collections.abc import Collection, Iterable, Sequence

from bench import __version__
from bench.core.records import About, Finding
from bench.launch.ssh import Host, examine_hosts
from bench.machine.doctor.interfaces import ODD_INTERFACE, SHARED_ADDRESS, check_shared
from bench.machine.interfaces import find_shared


def check_hosts(names: Sequence[str], mpi: str | None) -> list[Finding]:
    """Ask hosts whether they can take part, and look for addresses that several of them have.

    Args:
        names: checked names.
        mpi: the name of the MPI that would pass messages between them.

    Raises:
        LaunchError: where there is no ssh.
    """
    fit, unfit = examine_hosts(names, __version__)
    stops = [
        Finding(
            name="unfit-host",
            level="stop",
            text=line,
            advice="mend it, or leave the host out",
            about=About(hosts=(line.partition(": ")[0],)),
        )
        for line in unfit
    ]
    return [*stops, *find_shared_addresses(fit, mpi)]


def find_shared_addresses(hosts: Iterable[Host], mpi: str | None) -> list[Finding]:
    """Return a warning for each address that several of the hosts have, by what they answered."""
    networks = {host.asked: host.network for host in hosts if host.network is not None}
    return check_shared(find_shared(networks), mpi, os.environ)


def leave_out_shared(findings: Iterable[Finding], shared: Iterable[Finding]) -> list[Finding]:
    """Return findings of one host without what was found to be shared by others too."""
    addresses = {finding.value for finding in shared if finding.name == SHARED_ADDRESS}
    return [f for f in findings if f.name != ODD_INTERFACE or f.value not in addresses]


def name_suspects(hosts: Collection[str], findings: Iterable[Finding]) -> list[str]:
    """Return which interfaces may be why a job between hosts was not heard of, and the way out.

    Args:
        hosts: of the job; none where a scheduler chooses them.
        findings: of the run.
    """
    shared = [
        finding
        for finding in findings
        if finding.name == SHARED_ADDRESS and len({*hosts}.intersection(finding.about.hosts)) > 1
    ]
    here = [finding for finding in findings if finding.name == ODD_INTERFACE]
    return [f"{f.text.partition(': ')[0]}: {f.advice}" for f in shared or here]
