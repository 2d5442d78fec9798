"""The steps in their order: what is asked, and how long it may take."""

from typing import NamedTuple


class Step(NamedTuple):
    """A question, and the module of this folder whose `ask` asks it."""

    name: str
    asked: str
    limit_s: float


STEPS = (
    Step("facts", "What is here, and do NVML's counters count what is copied?", 90),
    Step("fixed_cost", "What does a sample cost beside its copies: time(n) as a + b n", 60),
    Step("recipe", "Copies by nvbandwidth's recipe in CUDA against ours, 512 MiB and 1 MiB", 120),
    Step("libraries", "Copies and products timed by PyTorch against ours", 120),
    Step("faults", "Is one wrong byte, a product of zeros or of swapped factors seen?", 40),
    Step("sanitizer", "Does compute-sanitizer find a wrong access in our kernels?", 60),
    Step("two_ranks", "Two ranks on this GPU: CUDA IPC, and the rows say that they share it", 120),
    Step("gpu_tests", "The tests that need a GPU, all that one GPU and what is here can run", 240),
    Step("short_suite", "Some thirty cases of copies and products, by the command line", 120),
    Step("full_suite", "The suite `gpu`", 590),
)
