"""A run from the request to its finished folder: what `clusterbench run` does, in order."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.clock import utc_now
from bench.core.errors import RequestError
from bench.core.placement import Limits
from bench.core.program import module_command
from bench.core.records import SCHEMA, Finding, Job, Origin
from bench.machine.doctor import Diagnosis, examine
from bench.machine.doctor.interfaces import ODD_INTERFACE
from bench.machine.mpi import MpiInstall
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import fill_nodes, load_suite, override_ranks
from bench.predict.bounds import foresee, known_hardware
from bench.predict.fit import predict_targets
from bench.run.budget import Span
from bench.run.cut import cut_back
from bench.run.end import Ended, run_to_end
from bench.run.fitness import find_shared_addresses, leave_out_shared
from bench.run.progress import open_progress
from bench.run.request import Request, stored_request
from bench.run.resolve import Resolved, ask_for_fitness, check_room, resolve
from bench.run.resume import (
    hosts_to_resume,
    is_final,
    predict_rest,
    refuse_changes,
    stored_plan,
    what_is_left,
)
from bench.run.runner import Runner
from bench.store.begin import begin_run, create_folder
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.journal import next_attempts
from bench.store.lock import RunLock, lock_run
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


def prepare(request: Request) -> Prepared:
    """Load the suite, make the plan and choose the launcher; nothing is started.

    Raises:
        RequestError: where the suite or a flag is wrong.
        LaunchError: where the launcher's MPI is missing.
    """
    request.budget_s()
    suite = load_suite(request.suite)
    if request.ranks is not None:
        suite = override_ranks(suite, request.ranks)
    resolved = resolve(request)
    launcher = resolved.open()
    nodes = _planned_nodes(request, launcher)
    plan = make_plan(fill_nodes(suite, nodes), request.launches, request.seed)
    resolved = check_room(resolved, max((job.ranks for job in plan.jobs), default=1))
    return Prepared(plan, resolved, launcher, nodes)


def _planned_nodes(request: Request, launcher: Launcher) -> int:
    """Return on how many nodes ranks are planned, 1 where nobody knows; of a replay, as then."""
    if request.replay is None:
        return launcher.nodes or 1
    made = open_run(request.replay).meta.made
    return made.nodes if isinstance(made, Measured) else 1


def carry_out(request: Request, parent: Path) -> Ended:
    """Run a suite and leave its folder below `parent`.

    Ctrl-C and SIGTERM end the run; what was measured stays.

    Raises:
        BenchError: where the run cannot begin.
    """
    begun_s = time.monotonic()
    prepared = prepare(request)
    for line in prepared.resolved.told():
        print(line, file=sys.stderr)
    plan, resolved = prepared.plan, ask_for_fitness(prepared.resolved)
    diagnosis = examine() if resolved.kind.origin is Origin.MEASURED else None
    _compile_loops(resolved.mpi)
    folder = create_folder(parent, plan.suite.name)
    launcher = resolved.open(folder)
    parts = Parts(
        suite_text=plan.suite.text,
        machine_text=resolved.machine_text,
        plan=plan.jobs,
        findings=_findings(diagnosis, resolved, prepared.nodes),
    )
    with lock_run(folder) as lock:
        meta = _meta(plan, resolved, folder.name, prepared.nodes)
        recorder = Recorder(begin_run(folder, meta, parts), lock)
        if diagnosis is not None and (name := resolved.name_here()) is not None:
            # Before ranks report: one that is bound to a core sees no other.
            recorder.node_facts({name: msgspec.to_builtins(diagnosis.facts)})
        _freeze_datasheet(recorder, plan, launcher)
        progress = open_progress(plan.cases())
        predict = partial(predict_targets, hosts=_limits(resolved, launcher))
        span = _span(request, plan, begun_s)
        return run_to_end(Runner(plan, launcher, recorder, progress, predict, span=span))


def _span(request: Request, plan: Plan, begun_s: float) -> Span | None:
    """Return what the run may take, None where nobody set it: the command line beats the suite."""
    asked_s = request.budget_s()
    budget_s = plan.suite.budget_s if asked_s is None else asked_s
    return None if budget_s is None else Span(budget_s, begun_s)


def _limits(resolved: Resolved, launcher: Launcher) -> Limits | None:
    """Return how many nodes ranks are spread over, or the most of each; None where nobody knows."""
    return resolved.listed.counts or launcher.nodes


def _freeze_datasheet(recorder: Recorder, plan: Plan, launcher: Launcher) -> None:
    """Write what facts and the machine file foresee, before any job.

    Where a scheduler places ranks, or a run is played back, nobody knows yet where they will be.
    """

    def hosts(job: Job) -> Sequence[str]:
        placement = launcher.place(job.ranks)
        return placement.host_of_ranks() if placement else ()

    jobs = [job for job in plan.jobs if hosts(job)]
    known = known_hardware(recorder.nodes, recorder.machine_text)
    recorder.predictions(foresee(jobs, hosts, known, recorder.now()))


def carry_on(path: Path, force: bool) -> Ended:
    """Measure what is missing in a run, in its own folder; a time budget begins anew.

    Raises:
        RequestError: where it is no run, another process writes it, or MPI or program changed.
    """
    # Read again once nobody else can write it.
    with lock_run(open_run(path).path) as lock:
        return _carry_on(open_run(path), lock, force)


def _carry_on(run: RunFolder, lock: RunLock, force: bool) -> Ended:
    begun_s = time.monotonic()
    if run.meta.origin is not Origin.MEASURED:
        raise RequestError(f"{run.meta.run} is {run.meta.origin}: only measured runs are resumed")
    if run.meta.schema != SCHEMA:
        raise RequestError(
            f"{run.meta.run} has schema {run.meta.schema}, and this version appends rows of "
            f"schema {SCHEMA}: it can be read and reported; measure what is missing in a new run"
        )
    request, plan = stored_request(run.meta), stored_plan(run)
    resolved = resolve(request, hosts_to_resume(run.meta, request))
    now = _meta(plan, resolved, run.meta.run)
    findings = refuse_changes(run.meta, now, force)
    resolved = ask_for_fitness(resolved)
    launcher = resolved.open(run.path)
    run.meta.measured.hosts = _hostnames(resolved)
    run.meta.measured.slots = resolved.listed.slots()
    _compile_loops(resolved.mpi)
    kept = cut_back(run, is_final)
    left = what_is_left(plan, kept, next_attempts(run.path / JOURNAL_FILE))
    run.meta.outcome = run.meta.finished_utc = None
    # They are those of the files as they were.
    run.meta.files = {}
    recorder = Recorder(run, lock)
    recorder.save()
    for finding in (*findings, *find_shared_addresses(resolved.hosts, _mpi_name(resolved))):
        recorder.finding(finding)
    progress = open_progress(sum(len(job.cases) for job in left))
    predict = predict_rest(run, kept, _limits(resolved, launcher))
    span = _span(request, plan, begun_s)
    return run_to_end(Runner(plan, launcher, recorder, progress, predict, left, kept, span))


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


def _meta(plan: Plan, resolved: Resolved, run: str, nodes: int = 1) -> RunMeta:
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
