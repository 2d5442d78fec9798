"""A run from the request to its finished folder: what `clusterbench run` does, in order."""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench.contracts import Launcher
from bench.core.placement import Limits
from bench.core.records import Job
from bench.plan.plan import Plan
from bench.plan.suite import Suite, load_suite
from bench.predict.bounds import foresee, known_hardware
from bench.predict.fit import predict_targets
from bench.run.budget import Span
from bench.run.end import Ended, run_to_end
from bench.run.progress import open_progress
from bench.run.recording import Prepared, begin_recording, go_on_recording, look_around
from bench.run.request import Request, ask_ranks, plan_request
from bench.run.resolve import Resolved, ask_for_fitness, check_room, resolve
from bench.run.resume import predict_rest, what_is_left
from bench.run.runner import Runner
from bench.store.begin import create_folder
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.journal import next_attempts
from bench.store.lock import RunLock, lock_run
from bench.store.meta import Measured
from bench.store.recorder import Recorder


def prepare(request: Request, suite: Suite | None = None, nodes: int | None = None) -> Prepared:
    """Load the suite, make the plan and choose the launcher; nothing is started.

    Args:
        request: what is asked for.
        suite: that it names, where it was loaded before.
        nodes: that a job runs on, where those are not all.

    Raises:
        RequestError: where the suite or a flag is wrong.
        LaunchError: where the launcher's MPI is missing.
    """
    request.budget_s()
    suite = ask_ranks(request, load_suite(request.suite) if suite is None else suite)
    resolved = resolve(request)
    launcher = resolved.open()
    nodes = _planned_nodes(request, launcher) if nodes is None else nodes
    plan = plan_request(request, suite, nodes)
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
    resolved = ask_for_fitness(prepared.resolved)
    prepared = msgspec.structs.replace(prepared, resolved=resolved)
    diagnosis = look_around(prepared)
    folder = create_folder(parent, prepared.plan.suite.name)
    with lock_run(folder) as lock:
        plan, _, launcher, recorder, _ = begin_recording(
            folder, lock, prepared, diagnosis, folder.name
        )
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
    plan, resolved, launcher, recorder, kept = go_on_recording(run, lock, force, run.path.name)
    left = what_is_left(plan, kept, next_attempts(run.path / JOURNAL_FILE))
    progress = open_progress(sum(len(job.cases) for job in left))
    predict = predict_rest(run, kept, _limits(resolved, launcher))
    span = _span(resolved.request, plan, begun_s)
    return run_to_end(Runner(plan, launcher, recorder, progress, predict, left, kept, span))
