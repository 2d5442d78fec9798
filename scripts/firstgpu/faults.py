"""Faults on purpose: what a check must see on this GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.contracts import one_sample
from bench.measure.product_check import ProductCheck, Stored
from firstgpu.answer import Answer, judge
from firstgpu.gpu import ROUTES, open_device, open_pair

NBYTES = 2**20 + 5
SIDES = (512, 4096)
"""Of square products: factors of random numbers, whose elements spread by the root of k."""
DTYPES = ("fp64", "fp32", "tf32", "fp16", "bf16")
TILE = 64


def miss_wrong_bytes() -> list[str]:
    """Return the routes on which a wrong byte was not seen after a copy, or a right one was."""
    missed = []
    for route in ROUTES:
        for engine in ("copy-engine", "kernel"):
            pair = open_pair(route, NBYTES)
            pair.source.fill(1)
            pair.target.poison(1)
            open_device().open_copies([pair.transfer()], engine).time(1)
            name = f"{' to '.join(route)} by {engine}"
            if wrong := pair.target.count_wrong(1):
                missed.append(f"{name}: {wrong} bytes are wrong of themselves")
            spoilt = pair.target.read().copy()
            spoilt[NBYTES - 1] ^= 1
            pair.target.write(spoilt)
            if pair.target.count_wrong(1) != 1:
                missed.append(f"{name}: a wrong last byte was not seen")
    return missed


def spoil_tile(product: Stored) -> Stored:
    """Return a product with one tile off by three times what its elements spread by."""
    spoilt = product.astype(np.float64)
    spoilt[-TILE:, -TILE:] += 3 * np.sqrt(len(product))
    return spoilt


FAULTS: dict[str, Callable[[Stored], Stored]] = {
    "zeros": np.zeros_like,
    "swapped factors": np.transpose,  # of square factors: as if each had been read by columns
    "rows out of place": lambda product: np.roll(product, 1, axis=0),
    "a tile off by 3 sigma": spoil_tile,
}


def miss_wrong_products() -> list[str]:
    """Return the products of which a fault was not seen, or a right one was."""
    device, missed = open_device(), []
    for dtype in DTYPES:
        for side in SIDES:
            name = f"{dtype} product of {side}"
            if device.lacks_type(dtype) is not None:
                continue
            product = device.open_product(side, side, side, dtype, cold=False)
            check = ProductCheck(side, side, side, dtype)
            check.add(*product.factors())
            product.poison()
            product.run(one_sample(), 1)
            made = product.fetch()
            if wrong := check.compare(made).bytes_wrong:
                missed.append(f"{name}: {wrong} bytes are wrong of themselves")
            missed += [
                f"{name}: {fault} not seen"
                for fault, spoil in FAULTS.items()
                if not check.compare(spoil(made)).bytes_wrong
            ]
    return missed


def ask(folder: Path) -> Answer:
    """Spoil what was copied and what was multiplied."""
    del folder
    open_device()
    wrong = miss_wrong_bytes() + miss_wrong_products()
    means = "a row that is ok was looked at, all of it"
    return judge(wrong, "every fault was seen", means, [])
