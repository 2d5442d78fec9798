"""A run from the request to its finished folder: what `clusterbench run` does, in order."""

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.errors import RequestError, StorageError, printable
from bench.core.records import SCHEMA, Finding, Job, Origin, Row, Status
from bench.core.verdict import RowKey, Verdict
from bench.judge.findings import row_findings
from bench.judge.path.collect import collect_evidence
from bench.judge.verdicts import judge_rows
from bench.machine.busy import check_busy, foreign_busy
from bench.machine.doctor import examine
from bench.machine.mpi import MpiInstall
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import fill_nodes, load_suite, override_ranks
from bench.predict.bounds import foresee, known_hardware
from bench.predict.fit import predict_targets
from bench.run.cut import cut_back
from bench.run.progress import open_progress
from bench.run.request import Request, stored_request
from bench.run.resolve import Resolved, ask_for_fitness, resolve
from bench.run.resume import (
    hosts_to_resume,
    is_final,
    predict_rest,
    refuse_changes,
    stored_plan,
    what_is_left,
)
from bench.run.runner import Runner
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.journal import next_attempts
from bench.store.lock import RunLock, lock_run
from bench.store.meta import Measured, RunMeta
from bench.store.parts import Parts
from bench.store.recorder import Recorder, begin_run, create_folder, utc_now
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
    launcher = resolved.open()
    suite = fill_nodes(suite, planned_nodes(request, launcher))
    return Prepared(make_plan(suite, request.launches, request.seed), resolved, launcher)


def planned_nodes(request: Request, launcher: Launcher) -> int:
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
    prepared = prepare(request)
    plan, resolved = prepared.plan, ask_for_fitness(prepared.resolved)
    diagnosis = examine() if resolved.kind.origin is Origin.MEASURED else None
    _compile_loops(resolved.mpi)
    folder = create_folder(parent, plan.suite.name)
    launcher = resolved.open(folder)
    parts = Parts(
        suite_text=plan.suite.text,
        machine_text=resolved.machine_text,
        plan=plan.jobs,
        # What facts show is added with the name of their node once ranks run there.
        findings=[] if diagnosis is None else [*diagnosis.here],
    )
    with lock_run(folder) as lock:
        meta = _meta(plan, resolved, folder.name, planned_nodes(request, launcher))
        recorder = Recorder(begin_run(folder, meta, parts), lock)
        if diagnosis is not None and (name := resolved.name_here()) is not None:
            # Before ranks report: one that is bound to a core sees no other.
            recorder.node_facts({name: msgspec.to_builtins(diagnosis.facts)})
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
    known = known_hardware(recorder.nodes, recorder.machine_text)
    recorder.predictions(foresee(jobs, hosts, known, recorder.now()))


def carry_on(path: Path, force: bool) -> Ended:
    """Measure what is missing in a run, in its own folder.

    Raises:
        RequestError: where it is no run, another process writes it, or MPI or program changed.
    """
    # Read again once nobody else can write it.
    with lock_run(open_run(path).path) as lock:
        return _carry_on(open_run(path), lock, force)


def _carry_on(run: RunFolder, lock: RunLock, force: bool) -> Ended:
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
    _compile_loops(resolved.mpi)
    kept = cut_back(run, is_final)
    left = what_is_left(plan, kept, next_attempts(run.path / JOURNAL_FILE))
    run.meta.outcome = run.meta.finished_utc = None
    # They are those of the files as they were.
    run.meta.files = {}
    recorder = Recorder(run, lock)
    recorder.save()
    for finding in findings:
        recorder.finding(finding)
    progress = open_progress(sum(len(job.cases) for job in left))
    predict = predict_rest(run, kept, launcher.nodes)
    return _run(Runner(plan, launcher, recorder, progress, predict, left, kept))


def _run(runner: Runner) -> Ended:
    """Run to the end, or to an interruption, and close the folder."""
    recorder, progress = runner.recorder, runner.progress
    outcome = "interrupted"
    with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
        try:
            runner.run()
            outcome = "complete"
        except KeyboardInterrupt:
            progress.show("interrupted; what was measured is kept")
        finally:
            progress.close()
            _close(runner, outcome)
    missing = find_missing(runner.plan, runner.rows)
    verdict = judge_rows(runner.rows, missing)
    try:
        write_verdicts(recorder.folder, {"run": verdict})
    except StorageError as error:
        progress.show(f"the verdict is not kept: {error}")
    counts = count_rows(runner.rows, missing)
    return Ended(recorder.folder, outcome, counts, verdict, tuple(recorder.findings))


def _close(runner: Runner, outcome: str) -> None:
    """Write how the run ended, then all that can be made again from its files.

    A batch system kills half a minute after it has asked, so what is needed to go on comes first;
    nothing after it, and no further Ctrl-C, can take it back.
    """
    recorder = runner.recorder
    recorder.end(outcome)
    try:
        for what, step in (("findings", _add_findings), ("evidence of paths", _add_evidence)):
            try:
                step(runner)
            except Exception as error:  # noqa: BLE001 - what is measured matters more
                why = printable(f"{type(error).__name__}: {error}", 300)
                runner.progress.show(f"the {what} could not be made ({why}); the rows are kept")
        recorder.finish()
    except KeyboardInterrupt:
        runner.progress.show("interrupted again: the run has no hashes of its files")


def _add_findings(runner: Runner) -> None:
    recorder = runner.recorder
    for finding in (*row_findings(runner.rows), *_busy_after(recorder.meta.origin)):
        recorder.finding(finding)


def _add_evidence(runner: Runner) -> None:
    recorder = runner.recorder
    paths = recorder.nodes.paths
    evidence = collect_evidence(recorder.folder, runner.plan.jobs, paths, runner.rows)
    recorder.evidence(evidence)


def find_missing(plan: Plan, rows: Sequence[Row]) -> list[RowKey]:
    """Return what is planned and has no row, in the plan's order."""
    done = {(row.case, row.arm, row.launch) for row in rows}
    planned = (
        RowKey(case=case.id, launch=job.launch, arm=job.arm)
        for job in plan.jobs
        for case in job.cases
    )
    return [key for key in planned if (key.case, key.arm, key.launch) not in done]


def count_rows(rows: Sequence[Row], missing: Sequence[RowKey]) -> dict[str, int]:
    """Return the rows of a run by status, and how many planned cases have none."""
    ended = Counter(str(row.status) for row in rows)
    counts = {str(status): ended[str(status)] for status in Status}
    return {**counts, "not measured": len(missing)}


def _busy_after(origin: Origin) -> list[Finding]:
    """Return what others ran when the run ended: what came in mid-run is still there, or not."""
    return check_busy(foreign_busy()) if origin is Origin.MEASURED else []


@contextlib.contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Treat these signals as Ctrl-C: what ends a login session, or a batch job, ends the run."""
    # One that is ignored stays so: a run under nohup outlives its terminal.
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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


def _meta(plan: Plan, resolved: Resolved, run: str, nodes: int = 1) -> RunMeta:
    mpi, container = resolved.mpi, resolved.site.container
    made = Measured(
        # The image is what ranks run in, whether the command line or the site file names it.
        flags=resolved.request.flags() | ({"container": container.image} if container else {}),
        seed=plan.seed,
        launches=plan.launches,
        launcher=resolved.request.launcher,
        hosts=_hostnames(resolved),
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


def _hostnames(resolved: Resolved) -> dict[str, str | None]:
    return {host.asked: host.hostname for host in resolved.hosts}
