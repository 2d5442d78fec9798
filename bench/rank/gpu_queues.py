"""Hardware queues of GPUs: as many as copies at once have streams.

Streams of a GPU are spread over its hardware queues, and what shares one runs in turn: copies that
are to run at once would then look like half a link.
"""

from collections.abc import MutableMapping

QUEUE_VARIABLES = {"CUDA_DEVICE_MAX_CONNECTIONS": "32", "GPU_MAX_HW_QUEUES": "8"}
"""CUDA has 8 queues unless told, and 32 at most (CUDA C++ programming guide 12.9, environment
variables); HIP has 4."""


def ask_for_queues(environment: MutableMapping[str, str]) -> None:
    """Set how many queues the runtimes open, where nobody has; it is read when they start."""
    for name, count in QUEUE_VARIABLES.items():
        environment.setdefault(name, count)
