"""Copies and products that PyTorch makes and times by its own events, beside ours."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.contracts import DeviceProduct, LeastSample, one_sample
from bench.rank.memory.stream_timer import MOST_QUEUED
from bench.rank.timing.sampling import choose_loops
from firstgpu.answer import Answer, NotHereError, judge, keep_so_far
from firstgpu.gpu import open_device, open_pair

COPY_BYTES = 2**28
SIDE = 8192
MOST_OFF_COPY, MOST_OFF_PRODUCT = 0.03, 0.05
"""Products draw so much power that clocks change from one second to the next: within 2 % is said,
within 5 % asked."""
CLOSE = 0.02
NAMES = ["operation", "PyTorch s", "ours s", "ours / PyTorch", "within"]
MEANS = "a rate of ours is the rate that a program gets from the same libraries"
WARM_S, TURNS = 1.0, 3
TYPES = {"fp64": "float64", "fp32": "float32", "tf32": "float32", "fp16": "float16",
         "bf16": "bfloat16"}  # fmt: skip


class Compared(NamedTuple):
    """One operation, the seconds that both take, and how far they may differ."""

    name: str
    theirs_s: float
    ours_s: float
    most_off: float


def open_torch() -> Any:
    """Return PyTorch, on a GPU.

    Raises:
        NotHereError: where it is not.
    """
    try:
        import torch
    except ImportError as error:
        raise NotHereError("no PyTorch to compare with") from error
    if not torch.cuda.is_available():
        raise NotHereError("this PyTorch drives no GPU")
    return torch


def time_torch(torch: Any, operation: Callable[[], object]) -> float:
    """Return the seconds of an operation, of as many as fill the time, by PyTorch's events."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    operation()
    torch.cuda.synchronize()
    count, seconds = 1, 0.0
    while seconds < WARM_S:
        begin.record()
        for _ in range(count):
            operation()
        end.record()
        end.synchronize()
        seconds = begin.elapsed_time(end) * 1e-3
        if seconds < WARM_S:
            count = max(count + 1, int(count * min(8.0, 1.2 * WARM_S / max(seconds, 1e-6))))
    return seconds / count


def time_ours(run: Callable[[], float]) -> float:
    """Return the seconds of an operation after as much of it as PyTorch makes in one sample.

    A GPU that has just rested has higher clocks than one that has multiplied for a second.
    """
    until_s = time.monotonic() + WARM_S
    seconds = run()
    while time.monotonic() < until_s:
        seconds = run()
    return seconds


def compare_copies(torch: Any) -> Iterator[Compared]:
    """Yield the seconds of a copy of both."""
    pinned = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    one = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    theirs = {
        ("pinned", "device"): lambda: one.copy_(pinned, non_blocking=True),
        ("device", "pinned"): lambda: pinned.copy_(one, non_blocking=True),
        ("device", "device"): lambda: other.copy_(one),
    }
    for route, copy in theirs.items():
        timed = open_device().open_copies([open_pair(route, COPY_BYTES).transfer()], "copy-engine")
        ours = partial(timed.time, 16)
        turns = [(time_torch(torch, copy), time_ours(ours)) for _ in range(TURNS)]
        yield Compared(" to ".join(route), *_medians(turns), MOST_OFF_COPY)


def compare_products(torch: Any) -> Iterator[Compared]:
    """Yield the seconds of a square product of both, of each type."""
    for dtype, name in TYPES.items():
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        left, right = (
            torch.randn(SIDE, SIDE, device="cuda", dtype=getattr(torch, name)) for _ in range(2)
        )
        out = torch.empty_like(left)
        product = open_device().open_product(SIDE, SIDE, SIDE, dtype, cold=False)
        theirs, ours = partial(torch.matmul, left, right, out=out), partial(_run, product)
        turns = [(time_torch(torch, theirs), time_ours(ours)) for _ in range(TURNS)]
        yield Compared(f"{dtype} product of {SIDE}", *_medians(turns), MOST_OFF_PRODUCT)


def _run(product: DeviceProduct) -> float:
    seconds = one_sample()
    product.run(seconds, 1)
    product.run(seconds, choose_loops(float(seconds[0]), LeastSample(WARM_S / 4, MOST_QUEUED)))
    return float(seconds[0])


def _medians(turns: list[tuple[float, float]]) -> tuple[float, float]:
    return median(theirs for theirs, _ in turns), median(ours for _, ours in turns)


def ask(folder: Path) -> Answer:
    """Compare copies and products, in turn."""
    open_device()
    torch = open_torch()
    return tell(folder, chain(compare_copies(torch), compare_products(torch)))


def tell(folder: Path, found: Iterable[Compared]) -> Answer:
    """Return the answer, and keep what there is of it after each comparison."""
    table, wrong, close = [NAMES], [], 0
    for one in found:
        ratio = one.ours_s / one.theirs_s
        off = abs(ratio - 1)
        close += off <= CLOSE
        within = next((f"{most:.0%}" for most in (CLOSE, one.most_off) if off <= most), "neither")
        table.append([one.name, f"{one.theirs_s:.4g}", f"{one.ours_s:.4g}", f"{ratio:.4f}", within])
        if off > one.most_off:
            wrong.append(f"{one.name} takes {ratio:.3f} of PyTorch's time")
        keep_so_far(folder, wrong, MEANS, table)
    right = (
        f"copies within {MOST_OFF_COPY:.0%} and products within {MOST_OFF_PRODUCT:.0%}, "
        f"{close} of {len(table) - 1} within {CLOSE:.0%}"
    )
    return judge(wrong, right, MEANS, table)
