"""What schedulers have in common: the files of a batch job, and what a queue answers."""

import math
import re
from enum import StrEnum
from typing import NamedTuple, Protocol

from bench.core.limits import longest_case_s
from bench.core.records import Job

EXIT_MARKER = "@clusterbench-exit "
"""Begins the last line that a script prints: the exit status of what started the ranks."""

_START_S = 300.0
"""For the start of MPI and imports from a cold network file system."""
_LEAST_LIMIT_S = 600.0


class Phase(StrEnum):
    """Where a batch job is; `unknown` where the scheduler gave no answer."""

    QUEUED = "queued"
    RUNNING = "running"
    OVER = "over"
    UNKNOWN = "unknown"


class Standing(NamedTuple):
    """Where a batch job is, and the scheduler's own words for it."""

    phase: Phase
    words: str
    cut: bool = False
    """Whether somebody, or the scheduler, ended it before its script did."""


class Scheduler(Protocol):
    """The commands of a batch system, and what their answers mean."""

    name: str

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the command that submits a script of the current folder."""

    def number(self, answer: str) -> str | None:
        """Return the number of the batch job from the answer to that; None where there is none."""

    def ask_command(self, number: str) -> tuple[str, ...]:
        """Return the command that asks where a batch job is."""

    def standing(self, status: int | None, answer: str, error: str) -> Standing:
        """Return what the answer to that means; no status where it took too long."""

    def cancel_command(self, number: str) -> tuple[str, ...]:
        """Return the command that ends a batch job."""

    def is_cancelled(self, status: int | None, error: str) -> bool:
        """Return whether the answer to that means that the job is ended, or has ended before."""


class BatchFiles(NamedTuple):
    """Names of the files of one attempt of a job, in the folder shared with its nodes."""

    job: str
    script: str
    out: str
    err: str
    nodes: str
    log: str


def batch_files(job: Job) -> BatchFiles:
    """Return the names of a job's files: letters, digits, '.', '_' and '-' only."""
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', job.id)}-{job.attempt}"
    return BatchFiles(*(f"{stem}.{end}" for end in ("json", "sh", "out", "err", "nodes", "log")))


def time_limit(job: Job) -> str:
    """Return the limit of a batch job as HH:MM:SS: a backstop at what its cases may take."""
    limit_s = _START_S + longest_case_s(job.sampling) * len(job.cases)
    minutes = math.ceil(max(_LEAST_LIMIT_S, limit_s) / 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
