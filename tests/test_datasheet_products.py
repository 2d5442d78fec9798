"""Products: the staircase of tiles and waves, and the roof over it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.catalogue import load
from bench.predict.hardware import processor
from bench.predict.model.datasheet.products import Processor, product, tile_waves

TITAN = processor(load().gpus["gtx-titan"], "fp32")
sides = st.integers(1, 5000)
shapes = st.tuples(sides, sides, sides)
tiles = st.lists(st.tuples(st.sampled_from([32, 64, 128]), st.sampled_from([32, 64, 128])))


@st.composite
def processors(draw):
    peak = draw(st.floats(1e9, 1e15))
    return Processor(
        peak,
        peak * draw(st.floats(1, 1.5)),
        draw(st.floats(1e9, 1e13)),
        draw(st.integers(1, 200)),
        tuple(draw(tiles)),
    )


@pytest.mark.parametrize("batch", [65, 100, 127, 128])
def test_two_waves_from_65_to_128(batch):
    predicted = product((batch, 1000, 1000), 4, TITAN)
    assert predicted.seconds == pytest.approx(0.102e-3, abs=0.5e-6)
    assert predicted.waves == 2


@pytest.mark.parametrize(("batch", "used"), [(1, 0.0087), (16, 0.14), (32, 0.28), (64, 0.56)])
def test_one_wave_up_to_64(batch, used):
    predicted = product((batch, 1000, 1000), 4, TITAN)
    assert predicted.seconds == pytest.approx(0.051e-3, abs=0.5e-6)
    utilisation = 2e6 * batch / predicted.seconds / TITAN.peak
    assert utilisation == pytest.approx(used, abs=0.005)


def test_waves_are_counted_by_whole_tiles():
    assert tile_waves(128, 1000, (64, 128), 14) == 2
    assert tile_waves(64, 1000, (64, 128), 14) == 1
    assert tile_waves(1, 1, (64, 128), 14) == 1
    assert tile_waves(64 * 15, 128, (64, 128), 15) == 1


def test_a_thin_product_waits_for_memory():
    chip = processor(load().gpus["h100-sxm"], "fp16")
    thin = product((1, 8192, 8192), 2, chip)
    assert thin.limited_by == "memory bandwidth"
    assert thin.seconds == pytest.approx(2 * 8192 * 8192 / 3.35e12, rel=1e-3)


def test_one_process_has_one_die_of_a_card_of_two():
    row = load().gpus["mi250x"]
    chip = processor(row, "fp16")
    assert chip.peak == pytest.approx(383e12 / 2)
    assert (chip.multiprocessors, chip.bandwidth) == (110, pytest.approx(3277e9 / 2))


def test_sums_in_fp32_are_assumed_and_the_highest_rate_is_the_limit():
    chip = processor(load().gpus["rtx-4090"], "fp16")
    assert (chip.peak, chip.best_peak) == (165.2e12, 330.3e12)
    assert processor(load().gpus["h100-sxm"], "fp16").best_peak == 989.4e12


@given(shapes, processors(), st.floats(0, 1e-3))
def test_no_product_is_under_its_roof(shape, chip, launch_s):
    predicted = product(shape, 4, chip, launch_s)
    assert predicted.roof_s <= predicted.seconds * (1 + 1e-9)
    assert predicted.memory_s <= predicted.seconds


@given(shapes, st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), processors())
def test_a_larger_product_never_costs_less(shape, more_m, more_k, more_n, chip):
    larger = (shape[0] + more_m, shape[1] + more_k, shape[2] + more_n)
    assert product(larger, 4, chip).seconds >= product(shape, 4, chip).seconds * (1 - 1e-12)


@given(shapes, processors(), st.floats(1, 10))
def test_a_faster_gpu_never_costs_more(shape, chip, times):
    faster = Processor(
        chip.peak * times, chip.best_peak * times, chip.bandwidth, chip.multiprocessors, chip.tiles
    )
    wider = Processor(
        chip.peak, chip.best_peak, chip.bandwidth * times, chip.multiprocessors, chip.tiles
    )
    seconds = product(shape, 4, chip).seconds
    assert product(shape, 4, faster).seconds <= seconds * (1 + 1e-12)
    assert product(shape, 4, wider).seconds <= seconds
