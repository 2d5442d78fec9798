"""A run from the request to its finished folder: what `clusterbench run` does, in order."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.errors import RequestError
from bench.core.records import Finding, Job, Origin, Status
from bench.core.verdict import RowKey, Verdict
from bench.judge.findings import row_findings
from bench.judge.path.collect import collect_evidence
from bench.judge.verdicts import judge_rows
from bench.machine.busy import check_busy, foreign_busy
from bench.machine.doctor import examine
from bench.machine.mpi import MpiInstall
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import load_suite, override_ranks
from bench.predict.bounds import foresee, known_hardware
from bench.predict.fit import predict_targets
from bench.run.progress import open_progress
from bench.run.request import Request, stored_request
from bench.run.resolve import Resolved, ask_for_fitness, resolve
from bench.run.resume import (
    cut_back,
    hosts_to_resume,
    next_attempts,
    predict_rest,
    refuse_changes,
    stored_plan,
    what_is_left,
)
from bench.run.runner import Runner
from bench.store.folder import JOURNAL_FILE, RunFolder, RunMeta, open_run
from bench.store.node_facts import store_facts
from bench.store.recorder import Recorder, create_folder, lock_run, utc_now
from bench.store.verdicts import write_verdicts

_COMPILE_TIMEOUT_S = 300.0


class Prepared(msgspec.Struct, frozen=True):
    """A plan, what its request means here, and the launcher that would start it."""

    plan: Plan
    resolved: Resolved
    launcher: Launcher


class Ended(msgspec.Struct, frozen=True):
    """How a run ended."""

    folder: Path
    outcome: str
    counts: dict[str, int]
    """Rows by status, and how many planned ones have no row."""
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it before its time."""
        return self.outcome == "interrupted"


def prepare(request: Request) -> Prepared:
    """Load the suite, make the plan and choose the launcher; nothing is started.

    Raises:
        RequestError: where the suite or a flag is wrong.
        LaunchError: where the launcher's MPI is missing.
    """
    suite = load_suite(request.suite)
    if request.ranks is not None:
        suite = override_ranks(suite, request.ranks)
    resolved = resolve(request)
    return Prepared(make_plan(suite, request.launches, request.seed), resolved, resolved.open())


def carry_out(request: Request, parent: Path) -> Ended:
    """Run a suite and leave its folder below `parent`.

    Ctrl-C and SIGTERM end the run; what was measured stays.

    Raises:
        BenchError: where the run cannot begin.
    """
    prepared = prepare(request)
    plan, resolved = prepared.plan, ask_for_fitness(prepared.resolved)
    diagnosis = examine() if resolved.kind.origin is Origin.MEASURED else None
    _compile_loops(resolved.mpi)
    folder = create_folder(parent, plan.suite.name)
    launcher = resolved.open(folder)
    meta = _meta(plan, resolved, folder.name)
    if diagnosis is not None:
        # What its facts show is added with its name, as of every node, once ranks run there.
        meta.findings += diagnosis.here
        if (name := resolved.name_here()) is not None:
            # Before ranks report: one that is bound to a core sees no other.
            store_facts(meta, {name: msgspec.to_builtins(diagnosis.facts)})
    with lock_run(folder):
        recorder = Recorder(folder, meta)
        _freeze_datasheet(recorder, plan, launcher)
        progress = open_progress(plan.cases())
        predict = partial(predict_targets, hosts=launcher.nodes)
        return _run(Runner(plan, launcher, recorder, progress, predict))


def _freeze_datasheet(recorder: Recorder, plan: Plan, launcher: Launcher) -> None:
    """Write what facts and the machine file foresee, before any job.

    Where a scheduler places ranks, or a run is played back, nobody knows yet where they will be.
    """

    def hosts(job: Job) -> Sequence[str]:
        placement = launcher.place(job.ranks)
        return placement.host_of_ranks() if placement else ()

    jobs = [job for job in plan.jobs if hosts(job)]
    known = known_hardware(recorder.meta)
    recorder.predictions(foresee(jobs, hosts, known, recorder.now()))


def carry_on(path: Path, force: bool) -> Ended:
    """Measure what is missing in a run, in its own folder.

    Raises:
        RequestError: where it is no run, another process writes it, or MPI or program changed.
    """
    # Read again once nobody else can write it.
    with lock_run(open_run(path).path):
        return _carry_on(open_run(path), force)


def _carry_on(run: RunFolder, force: bool) -> Ended:
    if run.meta.origin is not Origin.MEASURED:
        raise RequestError(f"{run.meta.run} is {run.meta.origin}: only measured runs are resumed")
    request, plan = stored_request(run.meta), stored_plan(run.meta)
    resolved = resolve(request, hosts_to_resume(run.meta, request))
    now = _meta(plan, resolved, run.meta.run)
    findings = refuse_changes(run.meta, now, force)
    resolved = ask_for_fitness(resolved)
    launcher = resolved.open(run.path)
    run.meta.hosts = _hostnames(resolved)
    _compile_loops(resolved.mpi)
    kept = cut_back(run)
    left = what_is_left(plan, kept, next_attempts(run.path / JOURNAL_FILE))
    run.meta.findings += [finding for finding in findings if finding not in run.meta.findings]
    run.meta.outcome = run.meta.finished_utc = None
    recorder = Recorder(run.path, run.meta)
    progress = open_progress(sum(len(job.cases) for job in left))
    predict = predict_rest(run, kept, launcher.nodes)
    return _run(Runner(plan, launcher, recorder, progress, predict, left, kept))


def _run(runner: Runner) -> Ended:
    """Run to the end, or to an interruption, and close the folder."""
    recorder, progress = runner.recorder, runner.progress
    previous = signal.signal(signal.SIGTERM, _interrupt)
    outcome = "interrupted"
    try:
        runner.run()
        outcome = "complete"
    except KeyboardInterrupt:
        progress.show("interrupted; what was measured is kept")
    finally:
        signal.signal(signal.SIGTERM, previous)
        progress.close()
        for finding in (*row_findings(runner.rows), *_busy_after(recorder.meta.origin)):
            recorder.finding(finding)
        recorder.evidence(collect_evidence(recorder.folder, recorder.meta, runner.rows))
        recorder.finish(outcome)
    return _judge(recorder.folder, outcome)


def _judge(folder: Path, outcome: str) -> Ended:
    """Return how a run ended, by what is on disk, and keep the verdict with it."""
    run = open_run(folder)
    rows, missing = run.rows(), run.missing()
    counts = {str(status): sum(row.status is status for row in rows) for status in Status}
    verdict = judge_rows(rows, [RowKey(case=case, launch=job.launch) for job, case in missing])
    write_verdicts(folder, {"run": verdict})
    counts |= {"not measured": len(missing)}
    return Ended(folder, outcome, counts, verdict, tuple(run.meta.findings))


def _busy_after(origin: Origin) -> list[Finding]:
    """Return what others ran when the run ended: what came in mid-run is still there, or not."""
    return check_busy(foreign_busy()) if origin is Origin.MEASURED else []


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _compile_loops(mpi: MpiInstall | None) -> None:
    """Fill the cache of compiled loops on this machine, so that ranks only read it."""
    if mpi is None or mpi.handle_bytes is None:
        return
    # What is not compiled in time the ranks compile, each for itself.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            (sys.executable, "-m", "bench.rank.timing.compile", str(mpi.handle_bytes)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )


def _meta(plan: Plan, resolved: Resolved, run: str) -> RunMeta:
    mpi, container = resolved.mpi, resolved.site.container
    return RunMeta(
        run=run,
        origin=resolved.kind.origin,
        version=__version__,
        suite_name=plan.suite.name,
        suite_text=plan.suite.text,
        machine_text=resolved.machine_text,
        # The image is what ranks run in, whether the command line or the site file names it.
        flags=resolved.request.flags() | ({"container": container.image} if container else {}),
        seed=plan.seed,
        launches=plan.launches,
        launcher=resolved.request.launcher,
        plan=plan.jobs,
        hosts=_hostnames(resolved),
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
        started_utc=utc_now(),
    )


def _hostnames(resolved: Resolved) -> dict[str, str | None]:
    return {host.asked: host.hostname for host in resolved.hosts}
