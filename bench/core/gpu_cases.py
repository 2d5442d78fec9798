"""Which cases open a GPU, by the memory that their axes name."""

from bench.core.records import Case, Job

GPU_MEMORIES = frozenset({"device", "pinned"})
"""Kinds of memory that a GPU's runtime gives out."""
SHARED = "shared_gpus"
"""Parameter of a row: GPUs that several of its ranks have; what they did was no link's work."""
FAR = "far_from_gpu"
"""Parameter of a row: ranks whose host memory is on another NUMA node than their GPU."""


def memory_kinds(case: Case) -> frozenset[str]:
    """Return the kinds of memory where a case's buffers lie: the host's where no axis says so."""
    first = str(case.axes.get("memory", "host"))
    return frozenset({first, str(case.axes.get("dst_memory", first))})


def opens_gpu(case: Case) -> bool:
    """Return whether a rank of the case opens its GPU."""
    return bool(GPU_MEMORIES & memory_kinds(case))


def job_opens_gpu(job: Job) -> bool:
    """Return whether ranks of the job open GPUs; a plan puts such cases in jobs of their own."""
    return any(map(opens_gpu, job.cases))
