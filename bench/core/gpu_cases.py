"""Which cases open a GPU, by the memory that their axes name."""

from bench.core.records import Case, Job

GPU_MEMORIES = frozenset({"device", "pinned"})
"""Kinds of memory that a GPU's runtime gives out."""
ENDS = ("memory", "dst_memory")
"""Axes that say where buffers lie."""


SHARED = "shared_gpus"
"""Parameter of a row: GPUs that several of its ranks have; what they did was no link's work."""
FAR = "far_from_gpu"
"""Parameter of a row: ranks whose host memory is on another NUMA node than their GPU."""


def opens_gpu(case: Case) -> bool:
    """Return whether a rank of the case opens its GPU."""
    return any(case.axes.get(end) in GPU_MEMORIES for end in ENDS)


def job_opens_gpu(job: Job) -> bool:
    """Return whether ranks of the job open GPUs; a plan puts such cases in jobs of their own."""
    return any(map(opens_gpu, job.cases))
