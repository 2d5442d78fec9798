"""The folder of a run begun, or gone on with: from what is resolved to its open recorder."""

import contextlib
import subprocess
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.clock import utc_now
from bench.core.errors import RequestError
from bench.core.program import module_command
from bench.core.records import SCHEMA, Finding, Origin, Row
from bench.machine.doctor import Diagnosis, examine
from bench.machine.doctor.interfaces import ODD_INTERFACE
from bench.machine.mpi import MpiInstall
from bench.plan.plan import Plan
from bench.run.cut import cut_back
from bench.run.fitness import find_shared_addresses, leave_out_shared
from bench.run.request import stored_request
from bench.run.resolve import Resolved, ask_for_fitness, resolve
from bench.run.resume import hosts_to_resume, is_final, refuse_changes, stored_plan
from bench.store.begin import begin_run
from bench.store.folder import RunFolder
from bench.store.lock import RunLock
from bench.store.meta import Measured, RunMeta
from bench.store.parts import Parts
from bench.store.recorder import Recorder

_COMPILE_TIMEOUT_S = 300.0


class Prepared(msgspec.Struct, frozen=True):
    """A plan, what its request means here, and the launcher that would start it."""

    plan: Plan
    resolved: Resolved
    launcher: Launcher
    nodes: int
    """That ranks are planned on."""


class Recording(NamedTuple):
    """A run that is open to be measured."""

    plan: Plan
    resolved: Resolved
    launcher: Launcher
    recorder: Recorder
    kept: list[Row]
    """Rows that stay."""


def look_around(prepared: Prepared) -> Diagnosis | None:
    """Return what this machine is and lacks; None where ranks are played back.

    Loops are compiled, so that ranks only read them.
    """
    resolved = prepared.resolved
    diagnosis = examine() if resolved.kind.origin is Origin.MEASURED else None
    _compile_loops(resolved.mpi)
    return diagnosis


def begin_recording(
    folder: Path, lock: RunLock, prepared: Prepared, diagnosis: Diagnosis | None, name: str
) -> Recording:
    """Begin a run in an empty folder.

    Args:
        folder: that has been created for it, and is locked.
        lock: of the folder.
        prepared: with hosts that were asked for their fitness.
        diagnosis: of this machine.
        name: of the run.

    Raises:
        LaunchError: where there is no MPI.
        StorageError: where the disk is full or gone.
    """
    plan, resolved = prepared.plan, prepared.resolved
    launcher = resolved.open(folder, name)
    parts = Parts(
        suite_text=plan.suite.text,
        machine_text=resolved.machine_text,
        plan=plan.jobs,
        findings=_findings(diagnosis, resolved, prepared.nodes),
    )
    meta = _describe(plan, resolved, name, prepared.nodes)
    recorder = Recorder(begin_run(folder, meta, parts), lock)
    if diagnosis is not None and (here := resolved.name_here()) is not None:
        # Before ranks report: one that is bound to a core sees no other.
        recorder.node_facts({here: msgspec.to_builtins(diagnosis.facts)})
    return Recording(plan, resolved, launcher, recorder, [])


def go_on_recording(run: RunFolder, lock: RunLock, force: bool, name: str) -> Recording:
    """Open a run for what is missing in it; what a crash tore, or will be measured again, is gone.

    Args:
        run: read after it was locked.
        lock: of its folder.
        force: whether to accept that MPI, program or hosts have changed.
        name: of the run, by its folder: what its file says may be anything.

    Raises:
        RequestError: where it was not measured here, or something has changed.
    """
    _refuse_what_cannot_go_on(run)
    request, plan = stored_request(run.meta), stored_plan(run)
    resolved = resolve(request, hosts_to_resume(run.meta, request))
    findings = refuse_changes(run.meta, _describe(plan, resolved, run.meta.run), force)
    resolved = ask_for_fitness(resolved)
    launcher = resolved.open(run.path, name)
    run.meta.measured.hosts = _hostnames(resolved)
    run.meta.measured.slots = resolved.listed.slots()
    _compile_loops(resolved.mpi)
    kept = cut_back(run, is_final)
    run.meta.outcome = run.meta.finished_utc = None
    # They are those of the files as they were.
    run.meta.files = {}
    recorder = Recorder(run, lock)
    recorder.save()
    for finding in (*findings, *find_shared_addresses(resolved.hosts, _mpi_name(resolved))):
        recorder.finding(finding)
    return Recording(plan, resolved, launcher, recorder, kept)


def _refuse_what_cannot_go_on(run: RunFolder) -> None:
    meta = run.meta
    if meta.origin is not Origin.MEASURED:
        raise RequestError(f"{meta.run} is {meta.origin}: only measured runs are resumed")
    if meta.schema != SCHEMA:
        raise RequestError(
            f"{meta.run} has schema {meta.schema}, and this version appends rows of "
            f"schema {SCHEMA}: it can be read and reported; measure what is missing in a new run"
        )


def _compile_loops(mpi: MpiInstall | None) -> None:
    """Fill the cache of compiled loops on this machine, so that ranks only read it."""
    if mpi is None or mpi.handle_bytes is None:
        return
    # What is not compiled in time the ranks compile, each for itself.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            (*module_command("bench.rank.timing.compile"), str(mpi.handle_bytes)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )


def _describe(plan: Plan, resolved: Resolved, run: str, nodes: int = 1) -> RunMeta:
    mpi, container = resolved.mpi, resolved.site.container
    made = Measured(
        # The image is what ranks run in, whether the command line or the site file names it.
        flags=resolved.request.flags() | ({"container": container.image} if container else {}),
        seed=plan.seed,
        launches=plan.launches,
        launcher=resolved.request.launcher,
        hosts=_hostnames(resolved),
        slots=resolved.listed.slots(),
        hosts_from=", ".join(filter(None, (resolved.listed.source, resolved.listed.form))),
        nodes=nodes,
        mpi={}
        if mpi is None
        else {
            "name": mpi.name,
            "version": mpi.version_text,
            "library": mpi.library,
            "library_path": mpi.library_path,
            "mpirun": mpi.mpirun,
            "mpi4py": mpi.mpi4py,
        },
    )
    return RunMeta(
        run=run,
        origin=resolved.kind.origin,
        version=__version__,
        suite_name=plan.suite.name,
        started_utc=utc_now(),
        made=made,
    )


def _findings(diagnosis: Diagnosis | None, resolved: Resolved, nodes: int) -> list[Finding]:
    """Return what is known before the first job.

    What facts show is added with the name of their node once ranks run there.
    """
    shared = find_shared_addresses(resolved.hosts, _mpi_name(resolved))
    here = [] if diagnosis is None else leave_out_shared(diagnosis.here, shared)
    # Where all ranks are on one node, no way to others matters.
    return [*(f for f in here if nodes > 1 or f.name != ODD_INTERFACE), *shared]


def _mpi_name(resolved: Resolved) -> str | None:
    return resolved.mpi.name if resolved.mpi else None


def _hostnames(resolved: Resolved) -> dict[str, str | None]:
    return {host.asked: host.hostname for host in resolved.hosts}
