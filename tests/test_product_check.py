"""The check of a product: right ones pass as every type rounds them, wrong ones do not."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contracts import Checked
from bench.measure.product_check import STRIP, ProductCheck

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
rounded = pytest.importorskip("provekit.rounded")


def compare(product: Any, left: Any, right: Any, dtype: str) -> Checked:
    check = ProductCheck(*product.shape, left.shape[1], dtype)
    check.add(left, right)
    return check.compare(product)


@pytest.mark.parametrize("k", [1, 2, 31, 512, pytest.param(8192, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", rounded.TYPES)
def test_right_products_pass_in_whatever_order_sums_are_rounded(dtype, k):
    random = np.random.default_rng(k)
    for parts in (1, 2, 8, 32):
        if parts == 1 or (dtype in ("fp16", "bf16") and k > parts):
            left, right = rounded.draw(random, 40, 300, k, dtype)
            product = rounded.multiply(left, right, dtype, parts)
            found = compare(product, left, right, dtype)
            assert found == Checked(product.nbytes, 0), parts


@pytest.mark.parametrize("k", [512, 2048, pytest.param(8192, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", rounded.TYPES)
def test_wrong_products_do_not_pass(dtype, k):
    random = np.random.default_rng(k)
    left, right = rounded.draw(random, 160, 160, k, dtype)
    for kind, product in rounded.wrong_products(random, left, right, dtype).items():
        found = compare(product, left, right, dtype)
        whole = kind in ("zeros", "other factors")
        assert found.bytes_wrong > (0.9 * found.bytes_checked if whole else 0), kind


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("place", [(0, 0), (6, 299), (3, 128)])
def test_an_element_that_no_sum_can_have_costs_the_strip_of_its_row(place, wrong):
    left, right = rounded.draw(np.random.default_rng(0), 7, 300, 50, "fp64")
    product = left @ right
    product[place] = wrong
    width = min(STRIP, 300 - place[1] // STRIP * STRIP)
    assert compare(product, left, right, "fp64") == Checked(product.nbytes, 8 * width)


def test_factors_in_parts_are_the_same_as_whole_ones():
    left, right = rounded.draw(np.random.default_rng(0), 30, 200, 100, "fp32")
    check = ProductCheck(30, 200, 100, "fp32")
    for here in (slice(0, 1), slice(1, 64), slice(64, 100)):
        check.add(left[:, here], right[here])
    assert check.compare(left @ right).bytes_wrong == 0
    assert check.seconds > 0
    check.add(left[:, :1], right[:1])
    assert check.compare(left @ right).bytes_wrong > 0.9 * 30 * 200 * 4


def test_a_host_that_adds_wrongly_in_double_precision_checks_nothing():
    left, right = rounded.draw(np.random.default_rng(0), 30, 200, 100, "fp64")
    check = ProductCheck(30, 200, 100, "fp64")
    check.add(left, right)
    check._sums[3, 1] *= 1 + 1e-6
    with pytest.raises(RuntimeError, match="wrongly in float64"):
        check.compare(left @ right)
