"""Copies and products that PyTorch makes and times by its own events, beside ours."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from firstgpu.answer import Answer, NotHereError, judge
from firstgpu.gpu import open_device, open_pair

COPY_BYTES = 2**28
SIDE = 8192
MOST_OFF_COPY, MOST_OFF_PRODUCT = 0.03, 0.02
WARM_S, TURNS = 1.0, 3
TYPES = {"fp64": "float64", "fp32": "float32", "tf32": "float32", "fp16": "float16",
         "bf16": "bfloat16"}  # fmt: skip


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


def compare_copies(torch: Any) -> dict[str, tuple[float, float]]:
    """Return the seconds of a copy of both, by name."""
    pinned = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    one = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    theirs = {
        ("pinned", "device"): lambda: one.copy_(pinned, non_blocking=True),
        ("device", "pinned"): lambda: pinned.copy_(one, non_blocking=True),
        ("device", "device"): lambda: other.copy_(one),
    }
    found = {}
    for route, copy in theirs.items():
        timed = open_device().open_copies([open_pair(route, COPY_BYTES).transfer()], "copy-engine")
        turns = [(time_torch(torch, copy), timed.time(64)) for _ in range(TURNS)]
        found[" to ".join(route)] = _medians(turns)
    return found


def compare_products(torch: Any) -> dict[str, tuple[float, float]]:
    """Return the seconds of a square product of both, by type."""
    found = {}
    for dtype, name in TYPES.items():
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        left, right = (
            torch.randn(SIDE, SIDE, device="cuda", dtype=getattr(torch, name)) for _ in range(2)
        )
        out = torch.empty_like(left)
        product = open_device().open_product(SIDE, SIDE, SIDE, dtype, cold=False)
        turns = [
            (time_torch(torch, lambda: torch.matmul(left, right, out=out)), _ours(product))  # noqa: B023 - called here
            for _ in range(TURNS)
        ]
        found[f"{dtype} product of {SIDE}"] = _medians(turns)
    return found


def _ours(product: Any) -> float:
    import numpy as np

    seconds = np.empty(1)
    product.run(seconds, 1)
    product.run(seconds, max(1, min(256, int(WARM_S / float(seconds[0])))))
    return float(seconds[0])


def _medians(turns: list[tuple[float, float]]) -> tuple[float, float]:
    return median(theirs for theirs, _ in turns), median(ours for _, ours in turns)


def ask(folder: Path) -> Answer:
    """Compare copies and products, in turn."""
    del folder
    open_device()
    torch = open_torch()
    table = [["operation", "PyTorch s", "ours s", "ours / PyTorch"]]
    wrong = []
    for found, most_off in (
        (compare_copies(torch), MOST_OFF_COPY),
        (compare_products(torch), MOST_OFF_PRODUCT),
    ):
        for name, (theirs, ours) in found.items():
            table.append([name, f"{theirs:.4g}", f"{ours:.4g}", f"{ours / theirs:.4f}"])
            if abs(ours / theirs - 1) > most_off:
                wrong.append(f"{name} takes {ours / theirs:.3f} of PyTorch's time")
    means = "a rate of ours is the rate that a program gets from the same libraries"
    return judge(wrong, "the same times", means, table)
