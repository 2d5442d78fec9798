"""Whether each rank is bound to a core, and what it is told of GPUs, alike for every launcher."""

from bench.core.gpu_cases import job_opens_gpu
from bench.core.records import Job


def choose_binding(job: Job, bind: str, crowded: bool = False) -> str:
    """Return `core` or `none`: asked for, or a core each where that can be.

    Ranks with a GPU are bound to none: each goes to the CPUs near its GPU by itself, which no
    launcher knows. On one core the threads by which NCCL feeds a network card would wait for the
    one that spins.
    """
    if bind != "auto":
        return bind
    free = job.threads != 1 or crowded or job_opens_gpu(job)
    return "none" if free else "core"


def rank_options(job: Job) -> tuple[str, ...]:
    """Return what every rank is told on its command line, before MPI and the job are there."""
    return ("--gpu",) if job_opens_gpu(job) else ()
