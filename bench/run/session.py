"""A run from the request to its finished folder: what `clusterbench run` does, in order."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.errors import LaunchError, RequestError
from bench.core.records import Finding, Job, Origin, Status
from bench.judge.findings import row_findings
from bench.judge.path.collect import collect_evidence
from bench.launch import SCHEDULED, SUBMITTED, open_launcher
from bench.launch.mpirun import spread
from bench.launch.site import Site, check_line, load_site
from bench.launch.ssh import find_unfit
from bench.machine.busy import check_busy, foreign_busy
from bench.machine.doctor import examine
from bench.machine.mpi import MpiInstall, find_mpi, probe_library
from bench.machine.nominal import read_nominal
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import load_suite, override_ranks
from bench.predict.bounds import foresee, known_hardware
from bench.predict.fit import predict_targets
from bench.run.progress import open_progress
from bench.run.request import Request, refuse_unused, stored_request
from bench.run.resume import (
    cut_back,
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

_COMPILE_TIMEOUT_S = 300.0


class Prepared(msgspec.Struct, frozen=True):
    """A plan and the launcher that would start it."""

    plan: Plan
    launcher: Launcher
    mpi: MpiInstall | None
    site: Site
    machine_text: str | None = None
    """The machine file, checked."""


class Ended(msgspec.Struct, frozen=True):
    """How a run ended."""

    folder: Path
    outcome: str
    counts: dict[str, int]
    """Rows by status, and how many planned ones have no row."""

    @property
    def exit_code(self) -> int:
        """0 all ok or skipped, 4 rows failed, 130 interrupted."""
        if self.outcome == "interrupted":
            return 130
        return 4 if self.counts["failed"] or self.counts["not measured"] else 0


def prepare(request: Request) -> Prepared:
    """Load the suite, make the plan and choose the launcher; nothing is started.

    Raises:
        RequestError: where the suite or a flag is wrong.
        LaunchError: where the launcher's MPI is missing.
    """
    refuse_unused(request)
    suite = load_suite(request.suite)
    if request.ranks is not None:
        suite = override_ranks(suite, request.ranks)
    machine_text = None if request.machine is None else read_nominal(request.machine)
    prepared = _with_launcher(make_plan(suite, request.launches, request.seed), request)
    return msgspec.structs.replace(prepared, machine_text=machine_text)


def _with_launcher(plan: Plan, request: Request, run: Path | None = None) -> Prepared:
    site = load_site(request.site, request.container)
    mpi = _choose_mpi(request)
    return Prepared(plan, _open(request, mpi, site, run), mpi, site)


def _choose_mpi(request: Request) -> MpiInstall | None:
    """Return the MPI of the ranks: that of mpirun, or under Slurm that of mpi4py alone."""
    if request.launcher in ("srun", "sbatch"):
        return _library_under("srun")
    mpi = find_mpi(request.mpirun) if request.launcher in ("mpirun", "pbs") else None
    if mpi is not None and mpi.agrees is False:
        raise LaunchError(
            f"{mpi.mpirun} is {mpi.name}, but mpi4py loads {mpi.library}: every rank would think "
            "that it is alone; give the launcher of that library with --mpirun, or install one "
            "MPI only"
        )
    return mpi


def _library_under(launcher: str) -> MpiInstall:
    """Return the library that mpi4py loads, with a launcher that works with any."""
    library = probe_library()
    release = library.release
    if release is None:
        why = library.error or f"it loads {library.text}, which is none that is known here"
        raise LaunchError(f"mpi4py gives no MPI library: {why}; see `clusterbench doctor`")
    return MpiInstall(
        family=release.family,
        name=release.name,
        version=release.version,
        mpirun=launcher,
        library=library.text,
        library_path=library.path,
        handle_bytes=library.handle_bytes,
        mpi4py=library.mpi4py,
        agrees=True,
    )


def _open(request: Request, mpi: MpiInstall | None, site: Site, run: Path | None) -> Launcher:
    """Return the launcher; before it begins a run has no folder, and is called RUN."""
    if request.work is not None:
        folder = request.work / (run.name if run else "RUN")
    else:
        folder = run.absolute() / "batch" if run else Path("RUN/batch")
    if request.launcher in SUBMITTED:
        check_line(str(folder), "the folder of batch jobs")
    return open_launcher(
        request.launcher,
        mpi,
        len(os.sched_getaffinity(0)),
        request.replay,
        request.host_names(),
        request.bind,
        nodes=request.nodes,
        site=site,
        folder=folder,
    )


def carry_out(request: Request, parent: Path) -> Ended:
    """Run a suite and leave its folder below `parent`.

    Ctrl-C and SIGTERM end the run; what was measured stays.

    Raises:
        BenchError: where the run cannot begin.
    """
    prepared = prepare(request)
    origin = Origin.MEASURED if request.replay is None else Origin.REPLAYED
    _refuse_unfit(request)
    diagnosis = None if request.replay else examine()
    _compile_loops(prepared.mpi)
    folder = create_folder(parent, prepared.plan.suite.name)
    launcher = _open(request, prepared.mpi, prepared.site, folder)
    meta = _meta(request, prepared, origin, folder.name)
    if diagnosis is not None:
        meta.findings += diagnosis.findings
        # Before ranks report: one that is bound to a core sees no other.
        store_facts(meta, {socket.gethostname(): msgspec.to_builtins(diagnosis.facts)})
    with lock_run(folder):
        recorder = Recorder(folder, meta)
        _freeze_datasheet(recorder, prepared.plan, request)
        progress = open_progress(prepared.plan.cases())
        predict = functools.partial(predict_targets, hosts=_count_hosts(request))
        return _run(Runner(prepared.plan, launcher, recorder, progress, predict))


def _count_hosts(request: Request) -> int | None:
    """Return the hosts that ranks are spread over; None where only a scheduler knows."""
    if request.launcher in ("mpirun", "local"):
        return len(request.host_names()) or 1
    return request.nodes


def _freeze_datasheet(recorder: Recorder, plan: Plan, request: Request) -> None:
    """Write what facts and the machine file foresee, before any job.

    Under a scheduler, or in a run played back, nobody knows yet where ranks will be.
    """
    if request.launcher not in ("mpirun", "local"):
        return
    here = socket.gethostname()

    def hosts(job: Job) -> list[str]:
        blocks = spread(job.ranks, request.host_names() or (here,))
        return [host for host, count in blocks.items() for _ in range(count)]

    known = known_hardware(recorder.meta)
    recorder.predictions(foresee(plan.jobs, hosts, known, recorder.now()))


def _refuse_unfit(request: Request) -> None:
    """Name every host that could not take part, before any job is started.

    Nodes that a scheduler grants need not let anybody in over SSH.
    """
    program = SCHEDULED.get(request.launcher)
    if program is not None:
        if shutil.which(program) is None:
            raise LaunchError(f"{program} was not found; start this where its scheduler is at hand")
        return
    hosts = request.host_names()
    unfit = find_unfit(hosts, __version__) if hosts else []
    for line in unfit:
        print(line, file=sys.stderr)
    if unfit:
        raise LaunchError(
            f"{len(unfit)} of {len(hosts)} hosts cannot take part; mend them or leave them out"
        )


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
    request = stored_request(run.meta)
    prepared = _with_launcher(stored_plan(run.meta), request, run.path)
    _refuse_unfit(request)
    now = _meta(request, prepared, run.meta.origin, run.meta.run)
    findings = refuse_changes(run.meta, now, force)
    _compile_loops(prepared.mpi)
    kept = cut_back(run)
    left = what_is_left(prepared.plan, kept, next_attempts(run.path / JOURNAL_FILE))
    run.meta.findings += [finding for finding in findings if finding not in run.meta.findings]
    run.meta.outcome = run.meta.finished_utc = None
    recorder = Recorder(run.path, run.meta)
    progress = open_progress(sum(len(job.cases) for job in left))
    predict = predict_rest(run, kept, _count_hosts(request))
    return _run(Runner(prepared.plan, prepared.launcher, recorder, progress, predict, left, kept))


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
    return Ended(recorder.folder, outcome, count_rows(recorder.folder))


def count_rows(folder: Path) -> dict[str, int]:
    """Return the rows of a run by status, and how many planned ones are not there."""
    run = open_run(folder)
    rows = run.rows()
    counts = {str(status): sum(row.status is status for row in rows) for status in Status}
    return {**counts, "not measured": len(run.missing())}


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


def _meta(request: Request, prepared: Prepared, origin: Origin, run: str) -> RunMeta:
    plan, mpi, container = prepared.plan, prepared.mpi, prepared.site.container
    return RunMeta(
        run=run,
        origin=origin,
        version=__version__,
        suite_name=plan.suite.name,
        suite_text=plan.suite.text,
        machine_text=prepared.machine_text,
        # The image is what ranks run in, whether the command line or the site file names it.
        flags=request.flags() | ({"container": container.image} if container else {}),
        seed=plan.seed,
        launches=plan.launches,
        launcher=prepared.launcher.name,
        plan=plan.jobs,
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
