"""E2 and E4: control runs of a case: the direct path forbidden, required, and a memory hog.

A control run is a case of its own in a job of its own, since one job has one environment; `plan`
shows it. It is compared with its case, and is no result.
"""

from collections.abc import Iterable, Iterator

from bench.core.records import CONTROL, Case
from bench.measure.axes import STAGED_PATHS
from bench.measure.payload import HOG, memory_of

FORBIDDEN, REQUIRED = "forbidden", "required"

ARMS: dict[str, dict[str, str]] = {
    FORBIDDEN: {
        # The first alone leaves gdr_copy, which moves small messages without the host's memory.
        "UCX_IB_GPU_DIRECT_RDMA": "n",
        "UCX_TLS": "^gdr_copy,cuda_ipc",
        "NCCL_P2P_DISABLE": "1",
        "NCCL_NET_GDR_LEVEL": "LOC",
    },
    REQUIRED: {
        # By default UCX tries, and falls back without a word.
        "UCX_IB_GPU_DIRECT_RDMA": "y",
        # To NCCL both are leave to go direct at any distance, not an order.
        "NCCL_NET_GDR_LEVEL": "SYS",
        "NCCL_P2P_LEVEL": "SYS",
    },
    HOG: {},
}
"""What each arm adds to the environment of its ranks; it beats what the user has set."""

TRACE = {
    # Not `used`, which UCX before 1.22 takes for a pattern that nothing matches.
    "UCX_PROTO_INFO": "y",
    "UCX_LOG_LEVEL": "info",
    "NCCL_DEBUG": "INFO",
    # The default leaves out NET, which lists the cards for which GPUDirect RDMA is on.
    "NCCL_DEBUG_SUBSYS": "INIT,ENV,NET",
}
"""What makes UCX and NCCL print their choices, once each and outside every timed region."""


def environment(control: str | None) -> dict[str, str]:
    """Return what the ranks of a job get that is to prove a path."""
    return TRACE if control is None else {**TRACE, **ARMS[control]}


def control_id(case: str, arm: str) -> str:
    """Return the id of a case's control run."""
    return f"{case}/{CONTROL}={arm}"


def controls(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the control runs of cases whose path is to be proven."""
    for case in cases:
        for arm in _arms_of(case):
            axes = dict(sorted({**case.axes, CONTROL: arm}.items()))
            yield Case(control_id(case.id, arm), case.benchmark, axes)


def _arms_of(case: Case) -> tuple[str, ...]:
    # A path of our own is what it is; under a hog it shows that the hog is felt.
    arms = () if case.axes["path"] in STAGED_PATHS else (FORBIDDEN, REQUIRED)
    return arms if memory_of(case) == "host" else (*arms, HOG)
