"""Whether each rank is bound to a core, alike for every launcher."""

from bench.core.records import Job


def choose_binding(job: Job, bind: str, crowded: bool = False) -> str:
    """Return `core` or `none`: asked for, or a core each where that can be."""
    if bind != "auto":
        return bind
    return "core" if job.threads == 1 and not crowded else "none"
