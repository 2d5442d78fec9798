"""Products out of cold caches, in types that only devices have, and on a GPU."""

import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_cuda import EVENT_S, FLOP_RATE, simulate
from test_measure import make_case, spoil_products

from bench.contracts import Context
from bench.core.records import Axis, Case
from bench.machine.cpu import last_cache_bytes
from bench.measure import MEASUREMENTS, matmul
from bench.measure.axes import DTYPES
from bench.measure.product import DEVICE_DTYPES, MOST_SETS
from bench.plan.suite import parse_suite
from bench.rank.context import open_context
from bench.rank.memory.product import LIBRARY_TYPES, decode, encode, lacks_type
from bench.rank.memory.stream_timer import WARMUPS
from bench.rank.world import SoloWorld

MATMUL = MEASUREMENTS["matmul"]
SET_BYTES = 4 * (20 * 30 + 30 * 40 + 20 * 40)


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def product_case(**axes: Axis) -> Case:
    return make_case("matmul", **{"batch": 20, "k": 30, "n": 40, **axes})


def addresses(context: Context, monkeypatch: pytest.MonkeyPatch, case: Case) -> list[list[int]]:
    """Return the addresses of the three matrices of each of 14 products, one after the other."""
    seen = []

    def see(left: Any, right: Any, product: Any) -> None:
        seen.append([left.ctypes.data, right.ctypes.data, product.ctypes.data])

    operation = MATMUL.prepare(case, context)
    spoil_products(monkeypatch, see)
    operation.run(np.zeros(2), 3)
    operation.run(np.zeros(8), 1)
    return seen


@pytest.mark.parametrize("sets", [2, 3, 7])
def test_between_two_turns_of_cold_matrices_pass_others_of_twice_the_last_cache(
    sets, context, monkeypatch
):
    # The last set is begun by one byte.
    here = msgspec.structs.replace(context, last_cache_bytes=(sets - 2) * SET_BYTES // 2 + 1)
    seen = addresses(here, monkeypatch, product_case(cache="cold"))
    assert len({tuple(each) for each in seen}) == sets
    assert all(seen[i] == seen[i + sets] for i in range(len(seen) - sets))
    for matrix in zip(*seen[:sets], strict=True):
        assert len(set(matrix)) == sets


def test_hot_matrices_stay_where_they_are(context, monkeypatch):
    seen = addresses(context, monkeypatch, product_case())
    assert len({tuple(each) for each in seen}) == 1


def test_every_cold_product_is_right_and_the_row_says_how_many_take_turns(context):
    here = msgspec.structs.replace(context, last_cache_bytes=2 * SET_BYTES)
    operation = MATMUL.prepare(product_case(cache="cold"), here)
    assert operation.params["sets"] == 5
    for seed in range(6):
        assert operation.verify(seed).bytes_wrong == 0


def test_caches_that_are_unknown_or_too_large_for_the_matrices_are_a_reason(context):
    unknown = msgspec.structs.replace(context, last_cache_bytes=None)
    assert "not known" in (MATMUL.unsupported(product_case(cache="cold"), unknown) or "")
    assert MATMUL.unsupported(product_case(), unknown) is None
    large = msgspec.structs.replace(context, last_cache_bytes=MOST_SETS * SET_BYTES)
    assert "small matrices" in (MATMUL.unsupported(product_case(cache="cold"), large) or "")


def test_the_last_cache_is_all_of_the_highest_level(tmp_path):
    folder = tmp_path / "sys/devices/system/cpu"
    for cpu in range(4):
        for index, (level, size, shared) in enumerate([(1, "32K", cpu), (3, "8M", cpu // 2)]):
            cache = folder / f"cpu{cpu}/cache/index{index}"
            cache.mkdir(parents=True)
            (cache / "level").write_text(f"{level}\n")
            (cache / "type").write_text("Unified\n")
            (cache / "size").write_text(f"{size}\n")
            text = f"{2 * shared}-{2 * shared + 1}" if level == 3 else str(cpu)
            (cache / "shared_cpu_list").write_text(text)
    assert last_cache_bytes(tmp_path) is None
    (folder / "online").write_text("0-3\n")
    assert last_cache_bytes(tmp_path) == 16 * 2**20


@pytest.mark.parametrize("dtype", DEVICE_DTYPES)
def test_types_of_devices_are_accepted_by_suites_and_refused_by_the_host(dtype, context):
    text = f'[suite]\nname = "t"\n[[benchmark]]\nname = "matmul"\ndtype = "{dtype}"\n'
    assert parse_suite(text, "t.toml").blocks[0].axes["dtype"] == (dtype,)
    reason = MATMUL.unsupported(product_case(dtype=dtype), context) or ""
    assert dtype in reason
    assert "fp32 or fp64" in reason
    there = MATMUL.unsupported(product_case(dtype=dtype, memory="device"), context) or ""
    assert "GPU" in there
    assert "no product" in (MATMUL.unsupported(product_case(memory="standin"), context) or "")


def test_what_the_library_of_a_gpu_lacks_has_a_reason():
    assert all(lacks_type(dtype, False, (8, 0)) is None for dtype in LIBRARY_TYPES)
    assert set(LIBRARY_TYPES) == {*DTYPES, *DEVICE_DTYPES} - {"fp8"}
    assert "fp8" in (lacks_type("fp8", False, (9, 0)) or "")
    assert "AMD" in (lacks_type("fp32", True, (9, 4)) or "")


@pytest.mark.parametrize("dtype", LIBRARY_TYPES)
def test_a_gpu_that_has_not_a_type_refuses_it_with_its_compute_capability(dtype, monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    machine.capability = (7, 5)
    context = open_context(SoloWorld(), 1)
    reason = MATMUL.unsupported(product_case(dtype=dtype, memory="device"), context)
    if dtype in ("tf32", "bf16"):
        assert reason == f"{dtype} needs compute capability 8.0; that of this GPU is 7.5"
    else:
        assert reason is None


def test_matrices_too_small_to_outgrow_the_cache_of_a_gpu_are_refused_as_on_the_host(monkeypatch):
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    small = {"batch": 4, "k": 8, "n": 8, "memory": "device"}
    reason = MATMUL.unsupported(product_case(**small, cache="cold"), context) or ""
    assert "small matrices outgrow the cache; at most 4096" in reason
    assert MATMUL.unsupported(product_case(**small, cache="hot"), context) is None


@given(
    st.floats(
        width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100
    )
)
def test_bfloat16_is_the_nearest_of_eight_bits(number):
    kept = float(decode(encode(np.array([number], np.float32), "bf16"), "bf16")[0])
    assert abs(kept - number) <= abs(number) * 2.0**-8 + 1e-39
    assert float(decode(encode(np.array([kept], np.float32), "bf16"), "bf16")[0]) == kept


def test_bfloat16_rounds_half_way_to_even():
    numbers = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-7], np.float32)
    assert decode(encode(numbers, "bf16"), "bf16").tolist() == [1, 1 + 2.0**-6, 1 + 2.0**-7]


def test_a_sustained_product_is_timed_after_others_that_are_not(monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    monkeypatch.setattr(matmul, "SUSTAINED_S", 0.05)
    context = open_context(SoloWorld(), 1)
    made = {}
    for load in ("burst", "sustained"):
        axes = {} if load == "burst" else {"load": load}
        case = make_case("matmul", batch=16, k=16, n=16, memory="device", **axes)
        operation = MEASUREMENTS["matmul"].prepare(case, context)
        assert operation.verify(1).bytes_wrong == 0
        before, begin_s = machine.products, time.perf_counter()
        for _ in range(2):
            operation.run(np.empty(1), 1)
        made[load] = machine.products - before, time.perf_counter() - begin_s
        assert operation.verify(2).bytes_wrong == 0
    # Once, before the first sample.
    assert made["burst"][0] == 2 * (WARMUPS + 1)
    others = made["sustained"][0] - made["burst"][0]
    # One alone, to know what it takes.
    assert others > WARMUPS + 1
    assert (others - (WARMUPS + 1)) % (WARMUPS + matmul.QUEUED) == 0
    assert made["sustained"][1] >= 0.05


def test_no_more_than_two_long_products_pass_without_a_sign_of_life(monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    monkeypatch.setattr(matmul, "SUSTAINED_S", 0.05)
    # One takes 4 s of the simulated clock.
    monkeypatch.setattr("simulated_cuda.cublas.FLOP_RATE", 2 * 16**3 / 4)
    silences, last = [], [0]

    def alive():
        silences.append(machine.products - last[0])
        last[0] = machine.products

    context = open_context(SoloWorld(), 1, alive)
    case = make_case("matmul", batch=16, k=16, n=16, memory="device", load="sustained")
    operation = MEASUREMENTS["matmul"].prepare(case, context)
    alive()
    for seed in (1, 2):
        assert operation.verify(seed).bytes_wrong == 0
        alive()
    operation.run(np.empty(1), 1)  # which heats first
    alive()
    assert machine.products > 5
    assert max(silences) <= 2
    assert "fixed_ns" not in operation.params


def test_a_sustained_product_is_of_a_gpu():
    case = make_case("matmul", batch=16, k=16, n=16, load="sustained")
    assert "needs memory device" in MEASUREMENTS["matmul"].unsupported(
        case, open_context(SoloWorld(), 1)
    )


@pytest.mark.parametrize("cache", ["hot", "cold"])
@pytest.mark.parametrize("dtype", LIBRARY_TYPES)
def test_products_of_a_simulated_gpu_are_right_and_take_their_time(dtype, cache, monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    case = product_case(batch=96, k=128, n=80, dtype=dtype, memory="device", cache=cache)
    assert MATMUL.unsupported(case, context) is None
    operation: Any = MATMUL.prepare(case, context)
    sets = operation.params["sets"]
    itemsize = {"fp64": 8, "fp16": 2, "bf16": 2}.get(dtype, 4)
    each = (96 * 128 + 128 * 80 + 96 * 80) * itemsize
    assert sets == 1 if cache == "hot" else (sets - 2) * each < 2 * 2**20 <= (sets - 1) * each
    assert operation.params["gpu_cache_bytes"] == 2**20
    assert machine.products >= sets  # each has run once before any is timed
    for seed in range(sets + 2):
        assert operation.verify(seed).bytes_wrong == 0
    seconds = np.zeros(3)
    operation.run(seconds, 300)
    assert seconds == pytest.approx(2 * 96 * 128 * 80 / FLOP_RATE + 2 * EVENT_S / 300)
    assert operation.params["fixed_ns"] == round(EVENT_S * 1e9)


@pytest.mark.parametrize("wrong", ["zeros", "factors of another seed", "one element"])
@pytest.mark.parametrize("dtype", LIBRARY_TYPES)
def test_a_wrong_product_of_a_gpu_is_seen(dtype, wrong, monkeypatch):
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    case = product_case(batch=8, k=1024, n=24, dtype=dtype, memory="device")
    operation: Any = MATMUL.prepare(case, context)
    fetch = operation._product.fetch

    def spoil() -> Any:
        product = fetch()
        if wrong == "zeros":
            return np.zeros_like(product)
        if wrong == "one element":
            product[7, 0] += 3 * np.sqrt(1024)
            return product
        random = np.random.default_rng(1)
        return (32 * random.standard_normal(product.shape)).astype(product.dtype)

    assert operation.verify(1).bytes_wrong == 0
    operation._product.fetch = spoil
    assert operation.verify(1).bytes_wrong > 0
    assert operation.params["check_s"] > 0


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["hot", "cold"])
@pytest.mark.parametrize("dtype", LIBRARY_TYPES)
def test_products_on_a_gpu_are_right_and_take_time(dtype, cache, context):
    case = product_case(batch=256, k=512, n=384, dtype=dtype, memory="device", cache=cache)
    reason = MATMUL.unsupported(case, context)
    if reason is not None:
        pytest.skip(reason)
    operation = MATMUL.prepare(case, context)
    for seed in (1, 2):
        checked = operation.verify(seed)
        assert checked.bytes_checked > 0
        assert checked.bytes_wrong == 0
    seconds = np.zeros(5)
    operation.run(seconds, 300)
    assert (seconds > 0).all()
