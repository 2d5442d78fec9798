"""Starts the jobs of a plan one after the other and turns their events into rows.

Every planned case ends as exactly one row per launch. A case in which its job dies, or falls
silent for longer than its deadline, is a failed row with the reason; the rest of the job goes on
in a new attempt.
"""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from bench.contracts import Launcher
from bench.core.ceilings import HostCeilings, best_by_host
from bench.core.events import (
    CaseEnded,
    CaseMeasured,
    CaseStarted,
    Ceilings,
    Done,
    Facts,
    Queued,
)
from bench.core.records import (
    CONTROL,
    LOST,
    About,
    Case,
    CounterReading,
    Finding,
    Job,
    Prediction,
    Row,
    Sample,
    Stage,
    Status,
)
from bench.machine.direct_path import PathFacts
from bench.machine.doctor.interfaces import SHARED_ADDRESS, check_shared
from bench.machine.facts import NodeFacts, read_records
from bench.machine.mpi import parse_library
from bench.machine.survey import Survey
from bench.measure.device_addresses import hands_device
from bench.plan.pace import why_left_out
from bench.plan.plan import Plan
from bench.predict.bounds import add_bounds, known_hardware, read_ceilings
from bench.run.attempt import Attempt
from bench.run.budget import Budget, Span
from bench.run.fitness import name_suspects
from bench.run.place_rows import make_rows
from bench.run.remaining import Remaining
from bench.run.rows import Place, counter_readings
from bench.run.silence import find_silent_hosts
from bench.store.files import JOURNAL_FILE, PREDICTIONS_FILE
from bench.store.recorder import Recorder
from bench.store.tables import read_csv

MOST_ATTEMPTS = 3
"""In a row, without a case that came to an end by itself."""


class Progress(Protocol):
    """Whoever shows a person how far the run is."""

    def queued(self, where: str) -> None:
        """The job waits in a batch system; called again and again."""

    def started(self, case: Case, left_s: float) -> None:
        """A case begins; the rest of the run is likely to take so long."""

    def ended(self, rows: Sequence[Row]) -> None:
        """A case has its row, or those of all its places."""

    def waiting(self, left_s: float) -> None:
        """Nothing happened for a second."""

    def show(self, line: str) -> None:
        """Show a line that a person should know at once."""

    def close(self) -> None:
        """The run is over."""


Predict = Callable[[Plan, Sequence[Row], str], Sequence[Prediction]]
"""From a plan, the rows of its calibration cases and the time: predictions of all other cases."""


class Runner:
    """Runs a plan.

    Args:
        plan: what to run.
        launcher: how to start a job.
        recorder: where everything goes.
        progress: shown every case.
        predict: called once, after the calibration jobs and before the others.
        left: the jobs to run, where a run is resumed; all of the plan if not given.
        rows: of a resumed run, that stay.
        span: that the run may take; None for as long as it takes.
    """

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        recorder: Recorder,
        progress: Progress,
        predict: Predict,
        left: Sequence[Job] | None = None,
        rows: Sequence[Row] = (),
        span: Span | None = None,
    ) -> None:
        self.plan = plan
        self._left = plan.jobs if left is None else left
        self._remaining = Remaining(self._left)
        self._budget = None if span is None else Budget(span, self._left, self._remaining)
        self._launcher = launcher
        self.recorder = recorder
        self.progress = progress
        self._predict = predict
        self._order = _number_cases(plan)
        self.rows: list[Row] = list(rows)
        self._ceilings: dict[str, HostCeilings] = read_ceilings(recorder.folder / JOURNAL_FILE)
        """The best of all jobs, by host, with those of a run that is resumed."""
        self._hardware = known_hardware(recorder.nodes, recorder.machine_text, self._ceilings)
        self._survey = Survey()
        self._reference_s: dict[int, float] = {}
        self._died_in: dict[frozenset[tuple[str, str]], str] = {}
        """By environment, the first case in which a job ended whose MPI was handed addresses of a
        GPU."""
        self._cannot_start: dict[tuple[object, ...], str] = {}
        """By the shape of a job, why MPI does not start for it, whatever its cases."""
        self._high_s: dict[tuple[str, int], float] = {}
        """Predicted upper times, by case and launch."""
        self._doubtful: set[str] = set()
        """Hosts of attempts that failed, by the names they were asked for, until they answer."""

    def run(self) -> None:
        """Run every job: calibration, then predictions, then the rest."""
        self._run_stage(Stage.CALIBRATE)
        frozen_at = self.recorder.now()
        self.recorder.predictions(self._predict(self.plan, self.rows, frozen_at))
        # From the file, which in a resumed run also has those that were frozen before.
        for prediction in read_csv(self.recorder.folder / PREDICTIONS_FILE, Prediction):
            if prediction.high_s is not None:
                self._high_s[prediction.case, prediction.launch] = prediction.high_s
        self._run_stage(Stage.TARGET)

    def run_some(self, jobs: Sequence[Job], plan: Plan, launcher: Launcher) -> None:
        """Run some jobs of any stage, with what earlier ones have shown; nothing is predicted.

        Args:
            jobs: of the plan.
            plan: that may have grown since.
            launcher: that may have other hosts than before.
        """
        self.plan, self._launcher = plan, launcher
        self._order = _number_cases(plan)
        self._remaining = Remaining(jobs)
        for job in jobs:
            self._run_job(job)
            self._remaining.job_ends(job)

    def _run_stage(self, stage: Stage) -> None:
        for job in self._left:
            if job.stage is stage:
                self._run_job(job)
                self._remaining.job_ends(job)
                if self._budget is not None:
                    self._budget.end(job)

    def _run_job(self, job: Job) -> None:
        """Run a job, and what is left of it again after each failure."""
        most = self._launcher.most_ranks
        if most is not None and job.ranks > most:
            why = f"launcher {self._launcher.name} starts {most} process; this needs {job.ranks}"
            self._close(job, Status.SKIPPED, why)
            self.recorder.event(job.id, job.attempt, Done(job.id))
            return
        job = msgspec.structs.replace(
            self._placed(job), reference_s=self._reference_s.get(job.ranks)
        )
        shape = (job.ranks, job.hosts, *sorted(job.env.items()))
        if shape in self._cannot_start:
            why = f"not measured: {self._cannot_start[shape]}"
            self._close(job, *_failure(job.cases, why, lost=False))
            return
        absent = self._find_absent(job)
        reason: str | None = _join(absent)
        attempt, fruitless = job.attempt - 1, 0
        while fruitless < MOST_ATTEMPTS and not absent:
            attempt += 1
            died_in = self._died_in.get(frozenset(job.env.items()))
            job = msgspec.structs.replace(job, attempt=attempt, died_in=died_in)
            self._remaining.job_begins(job)
            if self._budget is not None:
                share = self._budget.share(job)
                if share is None:
                    self._close(job, Status.SKIPPED, why_left_out(self._budget.span.seconds))
                    return
                job = share
            started = Attempt(job, self.recorder, self, self._high_times(job))
            reason = self._execute(started)
            if reason is None:
                return
            if started.cannot_start:
                self._cannot_start[shape] = reason
            absent = self._find_absent(job)
            unnamed = {host: why for host, why in absent.items() if host not in reason}
            reason = "; ".join([reason, *([_join(unnamed)] if unnamed else [])])
            log = self.recorder.log_file(job.id, attempt)
            self.progress.show(f"job {job.id}: {reason} (what it printed: {log})")
            self._fail_current(started, reason, bool(absent))
            if started.current is not None and hands_device(started.current):
                self._died_in.setdefault(frozenset(job.env.items()), started.current.id)
            left = started.left()
            if started.any_ended:
                fruitless = 0
            else:
                fruitless += 1
                # Cases that end a job lie side by side in a plan: begin with the others.
                left = left[::-1]
            job = msgspec.structs.replace(job, cases=left)
            if not left or not started.any_started:
                break
        status, reason = _failure(job.cases, f"not measured: {reason}", bool(absent))
        self._close(job, status, reason)

    def _execute(self, attempt: Attempt) -> str | None:
        """Start a job once; return None where all its cases ended, else the reason why not."""
        job = attempt.job
        command = self._launcher.command(job)
        reason = attempt.execute(command)
        if attempt.reference_s is not None:
            self._reference_s[job.ranks] = attempt.reference_s
        if reason is not None:
            if attempt.facts is None and (self._launcher.nodes or 1) > 1:
                suspects = name_suspects(job.hosts, self.recorder.findings)
                reason = "; ".join([reason, *suspects])
            seen = [rank.host for rank in attempt.facts.ranks] if attempt.facts else ()
            self._doubtful |= set(seen) or set(job.hosts)
        return reason

    def _placed(self, job: Job) -> Job:
        """Return the job with the hosts of its ranks, where the launcher knows them before."""
        placement = self._launcher.place(job.ranks)
        if placement is None or not placement.hosts:
            return job
        return msgspec.structs.replace(job, hosts=placement.hosts, host_ranks=placement.counts)

    def _find_absent(self, job: Job) -> dict[str, str]:
        """Return why they do not answer, of hosts that a job needs and an attempt has failed on.

        Without a look every further job would wait two minutes for ssh to give a lost host up.
        """
        needed = self._doubtful & set(job.hosts)
        if not self._launcher.reaches_hosts or not needed:
            return {}
        absent = find_silent_hosts(sorted(needed))
        self._doubtful -= needed - absent.keys()
        return absent

    def _high_times(self, job: Job) -> dict[str, float]:
        """Return the predicted upper times of a job's cases, as far as there are any."""
        known = ((case.id, self._high_s.get((case.id, job.launch))) for case in job.cases)
        return {case: high_s for case, high_s in known if high_s is not None}

    def _close(self, job: Job, status: Status, reason: str) -> None:
        """Give every case of the job a row without samples; the journal can play it back."""
        for case in job.cases:
            ended = CaseEnded(case=case.id, status=status, reason=reason)
            self.recorder.event(job.id, job.attempt, CaseStarted(case.id))
            self.recorder.event(job.id, job.attempt, ended)
            rows = make_rows(self._place(job, case), case, ended, {}, None, None)
            self._add(rows, case, None)

    def _fail_current(self, attempt: Attempt, reason: str, lost: bool) -> None:
        if attempt.current is not None:
            status, reason = _failure([attempt.current], reason, lost)
            ended = CaseEnded(case=attempt.current.id, status=status, reason=reason)
            attempt.samples = {}
            self.case_ended(attempt, attempt.current, ended)

    def queued(self, event: Queued) -> None:
        """Show where the job is."""
        if self._budget is not None:
            self._budget.wait()
        self.progress.queued(f"{event.batch_job}: {event.state}")

    def facts_known(self, attempt: Attempt) -> None:
        """Keep the facts of the nodes, and what the placement will do to the numbers."""
        if self._budget is not None:
            self._budget.begin()
        if attempt.facts is None:
            return
        recorder = self.recorder
        recorder.node_facts(attempt.facts.nodes, attempt.facts.paths)
        recorder.transports(attempt.facts.transports)
        self._hardware = known_hardware(recorder.nodes, recorder.machine_text, self._ceilings)
        for finding in placement_findings(attempt.facts):
            recorder.finding(finding)
        known = {finding.value for finding in recorder.findings if finding.name == SHARED_ADDRESS}
        library = parse_library(attempt.facts.mpi_library or "")
        name = library.name if library else None
        for finding in check_shared(attempt.facts.shared, name, os.environ):
            # Where hosts were asked before any job, all of them were.
            if finding.value not in known:
                recorder.finding(finding)
        nodes = read_records(attempt.facts.nodes, NodeFacts)
        paths = read_records(attempt.facts.paths, PathFacts)
        recorder.replace_findings("nodes", self._survey.look(nodes, paths))
        recorder.save_findings()

    def ceilings_known(self, ceilings: Ceilings) -> None:
        """Bound the rows that follow by what is reached at most."""
        self._ceilings = best_by_host(self._ceilings, ceilings.hosts)
        self._hardware = msgspec.structs.replace(self._hardware, ceilings=self._ceilings)

    def case_started(self, attempt: Attempt) -> None:
        """Show the case."""
        if attempt.current is not None:
            self._remaining.case_begins(attempt.current)
            self.progress.started(attempt.current, self._left_s())

    def case_measured(self, measured: CaseMeasured) -> None:
        """Learn how long cases take."""
        self._remaining.case_measured(measured)

    def case_ended(self, attempt: Attempt, case: Case, ended: CaseEnded) -> None:
        """Write the rows of the case and its samples."""
        launch = attempt.job.launch
        rows = make_rows(
            self._place(attempt.job, case),
            case,
            ended,
            attempt.samples,
            attempt.facts,
            attempt.started_utc,
        )
        samples = [
            Sample(case=case.id, launch=launch, sample=i, rank=rank, seconds=seconds)
            for rank, values in sorted(attempt.samples.items())
            for i, seconds in enumerate(values)
        ]
        readings = counter_readings(case, launch, ended)
        self._add(rows, case, attempt.facts, samples, readings)

    def waiting(self) -> None:
        """Show the time that passes."""
        self.progress.waiting(self._left_s())

    def _left_s(self) -> float:
        """Return how long the rest of the run is likely to take."""
        left_s = self._remaining.left_s()
        return left_s if self._budget is None else max(0.0, min(left_s, self._budget.left_s))

    def _place(self, job: Job, case: Case) -> Place:
        meta = self.recorder.meta
        return Place(meta.run, meta.origin, job, self._order[case.id, job.launch])

    def _add(
        self,
        rows: Sequence[Row],
        case: Case,
        facts: Facts | None,
        samples: Sequence[Sample] = (),
        readings: Sequence[CounterReading] = (),
    ) -> None:
        rows = add_bounds(rows, case, facts, self._hardware)
        self.recorder.rows(rows, samples, readings)
        self.rows += rows
        self._remaining.give_up(case)
        self.progress.ended(rows)


def _number_cases(plan: Plan) -> dict[tuple[str, int], int]:
    """Return the place of each case in the order of its launch."""
    return {
        (case.id, job.launch): job.first_order + i
        for job in plan.jobs
        for i, case in enumerate(job.cases)
    }


def _join(absent: dict[str, str]) -> str:
    return "; ".join(f"{host}: {why}" for host, why in absent.items())


def _failure(cases: Sequence[Case], reason: str, lost: bool) -> tuple[Status, str]:
    """Return how cases end whose job died, and why.

    A control run may die where it requires what is not there. That is an answer: nothing that was
    asked for as a result is missing. It is none where a host was lost, and is measured again.
    """
    if not all(CONTROL in case.axes for case in cases):
        return Status.FAILED, reason
    return Status.SKIPPED, f"{LOST}{reason}" if lost else reason


def placement_findings(facts: Facts) -> list[Finding]:
    """Return a warning for every two ranks that are bound to the same core of a host."""
    first_on: dict[tuple[str, tuple[int, ...]], int] = {}
    findings = []
    for rank, where in enumerate(facts.ranks):
        other = first_on.setdefault((where.host, where.usable_cores), rank)
        if other != rank and len(where.usable_cores) == 1:
            findings.append(
                Finding(
                    name="shared-core",
                    level="warning",
                    text=f"ranks {other} and {rank} were bound to the same core of {where.host}: "
                    "each waited while the other ran",
                    advice="start fewer ranks than cores, or bind each to a core of its own",
                    about=About(hosts=(where.host,)),
                )
            )
    return findings
