"""One start of a job: its process, its events, and why it ended if it ended early."""

import math
import os
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from bench.contracts import LaunchCommand
from bench.core.clock import earlier
from bench.core.errors import LaunchError
from bench.core.events import (
    CaseEnded,
    CaseMeasured,
    CaseStarted,
    Ceilings,
    CorruptEventError,
    Done,
    Event,
    Facts,
    Failure,
    Queued,
    Samples,
    decode,
)
from bench.core.records import Case, Job, Status
from bench.measure.pair import pair_ranks
from bench.run.cause import Said, Why, describe_signal, explain_line, find_cause
from bench.run.causes import name_signal
from bench.run.deadline import END_DEADLINE_S, START_DEADLINE_S, case_deadline_s
from bench.run.loss import Loss
from bench.run.process import JobProcess
from bench.run.rows import ranks_per_core
from bench.run.settings import Settings
from bench.run.silence import ask_ranks
from bench.store.meta import Measured
from bench.store.parts import Command
from bench.store.recorder import Recorder

_MOST_STEP_S = 5.0
"""A second in which this process or its machine stood still for longer is not held against a job,
which may have stood still as well."""


class Listener(Protocol):
    """Called with what an attempt learns, as it learns it."""

    def queued(self, event: Queued) -> None:
        """The job waits for its nodes, or has just got them."""

    def facts_known(self, attempt: "Attempt") -> None:
        """The ranks have reported where they run."""

    def ceilings_known(self, ceilings: Ceilings) -> None:
        """The ranks have measured what their hosts reach at most."""

    def case_started(self, attempt: "Attempt") -> None:
        """`attempt.current` begins."""

    def case_measured(self, measured: CaseMeasured) -> None:
        """A case was measured; its row may wait for the end of its round."""

    def case_ended(self, attempt: "Attempt", case: Case, ended: CaseEnded) -> None:
        """A case ended; its samples are in `attempt.samples`."""

    def waiting(self) -> None:
        """Nothing happened for a second."""


class Attempt:
    """Runs a job once.

    Args:
        high_s: predicted upper times of one operation, by case, as far as there are any.
    """

    def __init__(
        self, job: Job, recorder: Recorder, listener: Listener, high_s: Mapping[str, float]
    ) -> None:
        self.job = job
        self._high_s = high_s
        self.facts: Facts | None = None
        self.current: Case | None = None
        """The case that has begun and not ended."""
        self.started_utc: str | None = None
        self.samples: dict[int, tuple[float, ...]] = {}
        """Seconds of the current case, by rank."""
        self.any_started = self.any_ended = False
        self.reference_s: float | None = None
        """Best state of the machine that the job's probe saw."""
        self._recorder = recorder
        self._listener = listener
        self._cases = {case.id: case for case in job.cases}
        self._done = False
        self._torn = False
        """An event since the current case began did not arrive whole."""
        self.cannot_start = False
        """MPI did not start, for a reason that the next job of this shape would meet too."""
        self._spoke = False
        """A rank was heard of: MPI has started."""
        self._log = recorder.log_file(job.id, job.attempt)
        self._said = Said()
        self._loss: Loss | None = None
        self._lost = False
        self._failure: str | None = None
        self._crowding = 1.0
        """Ranks to a core where most are: each waits for the others' slices of time."""
        self._silent_s = 0.0
        """Since the last event; other output is no sign that the case goes on."""
        self._looked_s = time.monotonic()

    def execute(self, command: LaunchCommand) -> str | None:
        """Run the job; return None where all its cases ended, else the reason why not."""
        job, recorder = self.job, self._recorder
        recorder.command(Command(job.id, job.attempt, command.tokens, command.env))
        process = JobProcess(command, job, self._log)
        status = None
        try:
            process.start()
            self._loss = Loss(self._log, process.pid)
            for line in process.lines(self._may_go_on):
                self._read(line)
        except LaunchError as error:
            return str(error)
        finally:
            status = process.end(patient=not self._lost)
            recorder.note("end", job.id, job.attempt, exit_status=status)
        if self._failure is not None or not self._done:
            return self._failure or self._describe_end(status)
        return f"the job did not report how {len(self._cases)} cases ended" if self._cases else None

    def _describe_end(self, status: int) -> str:
        """Return why the launcher ended before all cases had, by what was printed."""
        why = self._find_cause()
        if status >= 0:
            return _join(f"the job ended with exit status {status}", why.text)
        told = why.text if why.known else describe_signal(-status) or why.text
        return _join(f"the job was killed by {name_signal(-status)}", told)

    def _find_cause(self) -> Why:
        made = self._recorder.meta.made
        mpi = made.mpi if isinstance(made, Measured) else {}
        settings = Settings(os.environ, mpi.get("name"), mpi.get("mpirun"))
        why = find_cause(self._log, self._said, self._spoke, settings)
        self.cannot_start = why.lasting and not self._spoke
        return why

    def _may_go_on(self) -> bool:
        """Return whether the job may take more time; where not, the reason is known after."""
        self._recorder.tick()
        now_s = time.monotonic()
        self._silent_s += min(now_s - self._looked_s, _MOST_STEP_S)
        self._looked_s = now_s
        if self._silent_s > 0.5:
            self._listener.waiting()
        # What it prints while it is ended is no reason, so the log is read before.
        if not self._done and self._loss is not None:
            how = self._loss.look(self._silent_s, self._spoke)
            if how is not None:
                self._lost = True
                self._failure = _join(how, self._find_cause().text)
                return False
        deadline_s = self._deadline_s()
        if self._silent_s <= deadline_s:
            return True
        if not self._done:
            where = f"case {self.current.id}" if self.current else "start-up"
            who = (
                "; ".join(ask_ranks(self.facts.ranks)) if self.facts else "no rank has reported yet"
            )
            silence = f"no sign of life for {deadline_s:.0f} s in {where}: {who}"
            why = self._find_cause()
            self._failure = f"{silence}; its log: {why.text}" if why.known else silence
        return False

    def _deadline_s(self) -> float:
        if self._done:
            return END_DEADLINE_S
        if self.current is None:
            return START_DEADLINE_S
        high_s = self._high_s.get(self.current.id)
        return self._crowding * case_deadline_s(self.current, self.job.sampling, high_s)

    def _read(self, line: bytes) -> None:
        job, note = self.job, self._recorder.note
        try:
            event = decode(line)
        except CorruptEventError as error:
            text = line.decode(errors="replace")
            note("corrupt", job.id, job.attempt, line=text, why=str(error))
            self._torn = True
            return
        if event is None:
            note("log", job.id, job.attempt, line=line.decode(errors="replace"))
            self._said.add(line)
            return
        self._silent_s = 0.0
        if not isinstance(event, Queued):
            self._spoke = True
        if self._loss is not None:
            self._loss.heard()
        self._recorder.event(job.id, job.attempt, event)
        self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Queued():
                self._listener.queued(event)
            case Facts():
                self.facts = event
                self._crowding = max(1.0, *ranks_per_core(event).values())
                self._listener.facts_known(self)
            case Ceilings():
                self._listener.ceilings_known(event)
            case CaseStarted() if event.case in self._cases:
                self.current = self._cases[event.case]
                self.any_started = True
                self.started_utc = earlier(self._recorder.now(), event.ago_s)
                self.samples = {}
                self._torn = False
                self._listener.case_started(self)
            case CaseMeasured():
                # Its row may wait for the end of its round, and be lost with that.
                self.any_ended = True
                self._listener.case_measured(event)
            case Samples() if self.current is not None and event.case == self.current.id:
                self.samples[event.rank] = event.seconds
            case CaseEnded() if self.current is not None and event.case == self.current.id:
                case, self.current = self.current, None
                self.any_ended = True
                del self._cases[case.id]
                # Nothing is missed where the job's own word for it is lost.
                self._done = self._done or not self._cases
                self._listener.case_ended(self, case, self._trusted(case, event))
            case Done():
                self._done = True
                self.reference_s = event.reference_s
            case Failure():
                told = f"rank {event.rank} on {event.host}: {event.reason}"
                self._failure = explain_line(told)
            case _:
                pass  # Hello, or a case that this job does not hold: nothing to keep.

    def _trusted(self, case: Case, ended: CaseEnded) -> CaseEnded:
        """Return how a case ended: as a failure where not all of its events arrived."""
        if ended.places:
            return self._trusted_places(ended)
        # Of more than a pair, rank 0 may sleep; whoever sends first has measured in any case.
        first, _ = pair_ranks(case, self.job.ranks)
        whole = not self._torn and first in self.samples and _complete(self.samples)
        # A line that was torn inside its marker is log: it is missed by its number alone.
        sampled = ended.sampled_ranks
        whole = whole and sampled in (None, len(self.samples))
        facts_lost = sampled is not None and self.facts is None
        if ended.status is not Status.OK or (whole and not facts_lost):
            return ended
        return self._distrusted(ended, "its samples" if not whole else "the facts of its ranks")

    def _trusted_places(self, ended: CaseEnded) -> CaseEnded:
        """Return how a case ended that places measured for themselves; all of it has to be here."""
        if self.facts is None:
            return self._distrusted(ended, "the facts of its ranks")
        told = [
            {rank: self.samples[rank] for rank in place.ranks if rank in self.samples}
            for place in ended.places
            if place.status is Status.OK
        ]
        whole = not self._torn and all(map(_complete, told))
        counted = sum(map(len, self.samples.values()))
        expected = (ended.sampled_ranks or 0, ended.sample_count or 0)
        if whole and (len(self.samples), counted) == expected:
            return ended
        return self._distrusted(ended, "its samples")

    def _distrusted(self, ended: CaseEnded, what: str) -> CaseEnded:
        self.samples = {}
        why = f"{what} did not arrive whole: other output was mixed into them (see the journal)"
        return msgspec.structs.replace(ended, status=Status.FAILED, reason=why, places=())

    def left(self) -> tuple[Case, ...]:
        """Return the cases that have not ended, the current one aside."""
        return tuple(case for case in self._cases.values() if case is not self.current)


def _complete(samples: dict[int, tuple[float, ...]]) -> bool:
    """Return whether all ranks reported equally many times, every one of them a time."""
    counts = {len(seconds) for seconds in samples.values()}
    times = (s for seconds in samples.values() for s in seconds)
    return len(counts) == 1 and 0 not in counts and all(map(_is_time, times))


def _is_time(seconds: float) -> bool:
    return 0 < seconds < math.inf


def _join(how: str, why: str) -> str:
    return f"{how}: {why}" if why else how
