"""The process of an arm: an ordinary run, of which one launch is measured at a time.

As a program (`python -m bench.run.ab.arm`), in the Python environment and with the variables of its
arm, it reads demands from standard input and answers each on standard output. What costs time is
done once: hosts are asked, loops compiled, the machine looked at. It ends when its input does.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.core.errors import BenchError, RequestError, StorageError
from bench.core.program import shun_current_folder
from bench.core.records import Prediction, Row, Status
from bench.machine.doctor import examine
from bench.plan.plan import Plan
from bench.plan.suite import Suite, parse_suite
from bench.run.ab.drift import read_times
from bench.run.ab.facts import tell_changes
from bench.run.ab.messages import (
    Answer,
    Begin,
    Begun,
    Close,
    Closed,
    Launched,
    Measure,
    Ready,
    Task,
    decode_demand,
    decode_task,
    encode,
    refuse,
)
from bench.run.attempt import Attempt
from bench.run.end import close_run, interruptible
from bench.run.progress import PlainLines
from bench.run.recording import (
    Prepared,
    Recording,
    begin_recording,
    go_on_recording,
    look_around,
)
from bench.run.request import ask_ranks, plan_request
from bench.run.resolve import Resolved, ask_for_fitness
from bench.run.resume import what_is_left
from bench.run.runner import Runner
from bench.run.session import prepare
from bench.store.begin import create_side_folder
from bench.store.files import JOURNAL_FILE, PLAN_FILE, replace_file, storage_error
from bench.store.folder import open_run
from bench.store.journal import next_attempts
from bench.store.jsons import encode_lines
from bench.store.lock import lock_run
from bench.store.recorder import Recorder

_TOLD_EVERY_S = 30.0
"""How far a launch is, of one that takes longer: each has a line at its end."""


class Arm:
    """One side of a comparison, with its run.

    Args:
        task: what it is.

    Raises:
        BenchError: where it cannot be measured.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._held = contextlib.ExitStack()
        self._prepared: Prepared | None = None
        self._runner: _ArmRunner | None = None
        if task.folder is None:
            self._prepared = prepare(task.request, self._suite(), task.nodes)
            self._resolved = ask_for_fitness(self._prepared.resolved)
            self._prepared = msgspec.structs.replace(self._prepared, resolved=self._resolved)
            self._nodes = self._prepared.nodes
            plan = self._prepared.plan
        else:
            recording = self._reopen(task.folder)
            self._resolved, plan = recording.resolved, recording.plan
            self._nodes = recording.recorder.meta.measured.nodes
        self._plan = plan
        _check_parameters(task, self._resolved)

    def _suite(self) -> Suite:
        """Return the suite without cases to calibrate on: nothing is predicted."""
        suite = parse_suite(self._task.suite_text, self._task.suite_source)
        blocks = tuple(msgspec.structs.replace(b, calibrate=False) for b in suite.blocks)
        return msgspec.structs.replace(suite, blocks=blocks)

    def ready(self) -> Ready:
        """Return what is known before anything is measured."""
        mpi = self._resolved.mpi
        unfinished: list[int] = []
        if self._runner is not None:
            left = what_is_left(self._plan, self._runner.rows, {})
            unfinished = sorted({job.launch for job in left})
        return Ready(
            seed=self._plan.seed,
            cases=sum(len(job.cases) for job in self._plan.jobs if job.launch == 0),
            mpi=None if mpi is None else f"{mpi.name} {mpi.version_text}",
            hosts=self._resolved.listed.names,
            notes=self._resolved.told(),
            unfinished=tuple(unfinished),
        )

    def begin(self, demand: Begin) -> Begun:
        """Begin the run, where it has not.

        Raises:
            BenchError: where its folder cannot be written.
        """
        if self._prepared is not None and self._runner is None:
            diagnosis = look_around(self._prepared)
            create_side_folder(demand.folder)
            lock = self._held.enter_context(lock_run(demand.folder))
            self._open(
                begin_recording(
                    demand.folder, lock, self._prepared, diagnosis, name_run(demand.folder)
                )
            )
        return Begun()

    def measure(self, demand: Measure) -> Launched:
        """Measure what is missing of a launch.

        Raises:
            BenchError: where the folder takes no more, or a host is none of the arm.
        """
        begun_s = time.monotonic()
        runner = self._runner
        if runner is None:
            raise RequestError("its run has not begun")
        self._grow(runner.recorder, demand.launches)
        launcher = self._resolved.on(demand.hosts).open(
            runner.recorder.folder, name_run(runner.recorder.folder)
        )
        attempts = next_attempts(runner.recorder.folder / JOURNAL_FILE)
        left = what_is_left(self._plan, runner.rows, attempts)
        jobs = [job for job in left if job.launch == demand.launch]
        runner.progress = self._open_progress(sum(len(job.cases) for job in jobs))
        runner.run_some(jobs, self._plan, launcher)
        rows = [row for row in runner.rows if row.launch == demand.launch]
        failed = [row for row in rows if row.status is Status.FAILED]
        return Launched(
            launch=demand.launch,
            seconds=time.monotonic() - begun_s,
            times_s=read_times(rows).get(demand.launch, {}),
            failed=len(failed),
            reason=failed[0].reason if failed else None,
            changed=runner.changes() if self._task.by_hand else (),
        )

    def _reopen(self, folder: Path) -> Recording:
        lock = self._held.enter_context(lock_run(folder))
        recording = go_on_recording(open_run(folder), lock, self._task.force, name_run(folder))
        self._open(recording)
        return recording

    def _open(self, recording: Recording) -> None:
        self._runner = _ArmRunner(recording, self._open_progress(0))

    def _open_progress(self, cases: int) -> PlainLines:
        return PlainLines(cases, f"{self._task.side.upper()}: ", _TOLD_EVERY_S)

    def _grow(self, recorder: Recorder, launches: int) -> None:
        """Plan more launches of the run; those before stay as they are, to the letter."""
        if launches <= self._plan.launches:
            return
        request = msgspec.structs.replace(
            self._task.request, launches=launches, seed=self._plan.seed
        )
        plan = plan_request(request, ask_ranks(request, self._suite()), self._nodes)
        if plan.jobs[: len(self._plan.jobs)] != self._plan.jobs:
            raise RequestError(
                "this version plans its launches otherwise than before; begin a new comparison"
            )
        self._plan = plan
        recorder.meta.measured.launches = launches
        try:
            replace_file(recorder.folder / PLAN_FILE, encode_lines(plan.jobs))
        except OSError as error:
            raise storage_error(recorder.folder, error) from error
        recorder.save()

    def close(self, outcome: str) -> None:
        """Close the run, where one has begun, and let its folder go."""
        with self._held:
            if self._runner is not None:
                close_run(self._runner, outcome)


class _ArmRunner(Runner):
    """Runs the launches of an arm, and remembers what nodes are now."""

    def __init__(self, recording: Recording, progress: PlainLines) -> None:
        plan, resolved, launcher, recorder, kept = recording
        super().__init__(plan, launcher, recorder, progress, _predict_nothing, rows=kept)
        self._here = resolved.name_here()
        self._now: dict[str, dict[str, Any]] = {}

    def facts_known(self, attempt: Attempt) -> None:
        """Keep what nodes are now beside what they were when the run began."""
        super().facts_known(attempt)
        if attempt.facts is not None:
            self._now |= attempt.facts.nodes

    def changes(self) -> tuple[str, ...]:
        """Return what of the nodes is not as it was when the run began."""
        now = dict(self._now)
        if self._here is not None:
            # As it was kept: a rank that is bound to a core sees no other.
            now[self._here] = msgspec.to_builtins(examine().facts)
        return tell_changes(self.recorder.nodes.by_host(), now)


def name_run(folder: Path) -> str:
    """Return the name of the run of a side: that of the comparison's folder, and its own."""
    return f"{folder.parent.name}-{folder.name}"


def _predict_nothing(_plan: Plan, _rows: Sequence[Row], _at: str) -> Sequence[Prediction]:
    return ()


def _check_parameters(task: Task, resolved: Resolved) -> None:
    """Refuse parameters of Open MPI where another MPI starts the ranks.

    Raises:
        RequestError: where they would not be heeded.
    """
    mpi = resolved.mpi
    if not task.parameters or (mpi is not None and mpi.family == "openmpi"):
        return
    starts = "no MPI" if mpi is None else f"{mpi.name} {mpi.version_text}"
    raise RequestError(
        f"mca.{task.parameters[0]} is a parameter of Open MPI, and this side starts {starts}; set "
        "a variable of that MPI with env.NAME=VALUE"
    )


@contextlib.contextmanager
def _answers() -> Iterator[BinaryIO]:
    """Give standard output to answers alone: whatever else is printed goes to standard error."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    """Serve the demands of a comparison."""
    shun_current_folder()
    with _answers() as answers, interruptible():
        _serve(sys.stdin.buffer, answers)


def _serve(demands: BinaryIO, answers: BinaryIO) -> None:
    def answer(message: Answer) -> None:
        # Whoever asked may be gone: then nothing more is asked either.
        with contextlib.suppress(BrokenPipeError):
            answers.write(encode(message))

    arm: Arm | None = None
    outcome = "interrupted"
    try:
        arm = Arm(decode_task(demands.readline()))
        answer(arm.ready())
        for line in demands:
            demand = decode_demand(line)
            if isinstance(demand, Close):
                outcome = "complete"
                break
            answer(arm.begin(demand) if isinstance(demand, Begin) else arm.measure(demand))
    except KeyboardInterrupt:
        pass
    except BenchError as error:
        answer(refuse(error))
    finally:
        if arm is not None:
            try:
                arm.close(outcome)
            except StorageError as error:
                answer(refuse(error))
    answer(Closed(interrupted=outcome != "complete"))


if __name__ == "__main__":
    main()
