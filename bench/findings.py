"""What the rows of a run together say about how far they can be trusted."""

from collections.abc import Sequence

from bench.links import host_findings
from bench.record import Finding, Row, parse_params

# Name, the key in `params` that marks a row, what it means after the count of rows, and advice.
_MARKS = (
    (
        "oversubscribed",
        "oversubscribed",
        "rows were measured with more ranks than cores: each rank waited while others ran",
        "read them as a test that the job runs, or start fewer ranks with -n",
    ),
    (
        "preempted",
        "preempted_percent",
        "rows were measured while other processes ran on the same cores (preempted_percent in the "
        "rows)",
        "end what else runs here, then measure again",
    ),
    (
        "other-state",
        "state_percent",
        "rows were measured while messages between the cores took an eighth longer or shorter "
        "than in the best state of the jobs before (state_percent in the rows)",
        "measure again, with --launches 10; in a virtual machine its host moves the cores",
    ),
)


def row_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return a warning for each host that stands out, and each kind of disturbance of rows."""
    marked = [set(parse_params(row.params)) for row in rows]
    findings = host_findings(rows)
    for name, key, text, advice in _MARKS:
        count = sum(key in keys for keys in marked)
        if count:
            findings.append(
                Finding(name=name, level="warning", text=f"{count} {text}", advice=advice)
            )
    if any(row.timing_layer == "mpi4py" for row in rows):
        findings.append(
            Finding(
                name="interpreted-loops",
                level="warning",
                text="messages were timed by loops in Python, which add their own time to each "
                "(overhead_ns in the rows)",
                advice="install numba into this environment to compile the loops",
            )
        )
    return findings
