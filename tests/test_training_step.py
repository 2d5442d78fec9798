"""Training steps: every split exact on every rank, and what is sent as the posts count it."""

from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Loops, Meeting
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, Context
from bench.core.records import Axis, Case, Status, parse_params
from bench.core.schedule import Code, Schedule
from bench.measure import MEASUREMENTS
from bench.measure.exchange.parts import ITEM
from bench.measure.exchange.phases import Phases
from bench.measure.training.network import OVERLAPS, SPLITS, split_exchange
from bench.measure.training.numbers import compute_truth, normal_values, whole_values
from bench.measure.training.optimiser import OPTIMISERS, Update, update_in_double
from bench.predict.model.datasheet.splits import split_layer
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

STEP = MEASUREMENTS["training_step"]
Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def step_case(**axes: Axis) -> Case:
    sizes: dict[str, Axis] = {"batch": 13, "d_in": 17, "d_out": 11, "split": "data"}
    return make_case("training_step", **{**sizes, **axes})


def verify(case: Case, context: Context, meeting: Meeting, seed: int = 1) -> list[Checked]:
    operations = meeting.prepare(STEP, case, context)
    return meeting.all_do(lambda rank: operations[rank].verify(seed))


def assert_right(case: Case, context: Context, ranks: int, per_node: int) -> None:
    meeting = Meeting(ranks, per_node=per_node)
    ready = meeting.prepare(STEP, case, context)
    for seed in (1, 2):
        found = meeting.all_do(lambda rank: ready[rank].verify(seed))  # noqa: B023
        assert all(checked.bytes_checked > 0 for checked in found)
        assert [checked.bytes_wrong for checked in found] == [0] * ranks
    seconds = np.empty(2)
    meeting.all_do(lambda rank: ready[rank].run(seconds.copy(), 2))


# Whether every split is right.


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("ranks", "per_node"), [(2, 1), (3, 3), (4, 2), (6, 3), (6, 2)])
def test_every_split_is_exact_on_every_rank(
    split: str, ranks: int, per_node: int, context: Context
) -> None:
    """Three layers; 13 examples and widths of 17 and 11, which no number of ranks divides."""
    case = step_case(split=split, layers=3, ranks=ranks)
    assert_right(case, context, ranks, per_node)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("split", ["data", "hybrid"])
@pytest.mark.parametrize("strategy", ["naive", "ring", "hierarchical", "one-bit"])
def test_overlap_changes_no_result(
    strategy: str, split: str, optimiser: str, overlap: str, context: Context
) -> None:
    case = step_case(
        split=split, layers=4, ranks=4, strategy=strategy, overlap=overlap, optimiser=optimiser
    )
    assert_right(case, context, 4, 2)


def test_naive_messages_in_rounds_and_the_librarys_sum_are_right_too(context: Context) -> None:
    posted = step_case(layers=2, ranks=4, strategy="naive", posting="rounds", overlap="backward")
    assert_right(posted, context, 4, 2)
    assert_right(step_case(split="row", ranks=3, strategy="library"), context, 3, 3)
    assert_right(step_case(split="row", ranks=3, part="exchange"), context, 3, 3)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("message", [0, 1, 3])
def test_a_corrupted_number_is_seen(split: str, message: int, context: Context) -> None:
    seen: list[int] = []

    def spoil(_code: Code, rank: int, elements: Numbers) -> None:
        if rank == 1:
            seen.append(rank)
            if len(seen) == message + 1:
                elements.view(np.float32)[-1] += 1

    case = step_case(split=split, layers=2, ranks=4)
    found = verify(case, context, Meeting(4, spoil, per_node=2))
    assert sum(checked.bytes_wrong for checked in found) > 0


def test_a_gradient_left_out_is_seen(context: Context) -> None:
    def spoil(_code: Code, rank: int, elements: Numbers) -> None:
        if rank == 0:
            elements[:] = 0

    found = verify(step_case(ranks=2), context, Meeting(2, spoil))
    assert found[0].bytes_wrong > 0.3 * found[0].bytes_checked


def test_whole_values_stay_exact_in_single_precision_through_many_layers() -> None:
    widths = [40, *[30] * 12]
    values = whole_values(1, 64, widths)
    truth = compute_truth(values)
    for found in (*truth.sources, *truth.slopes):
        assert np.abs(found).max() < 2**24
    for source, slope in zip(truth.sources, truth.slopes[1:], strict=False):
        assert np.abs(source.T @ slope).max() <= 64 * 64


def test_normal_values_are_the_same_on_every_rank() -> None:
    one, other = (normal_values(1, 5, [3, 4]) for _ in range(2))
    assert np.array_equal(one.source, other.source)
    assert np.array_equal(one.weights[0], other.weights[0])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_update_in_single_precision_is_that_in_double(name: str) -> None:
    random = np.random.default_rng(1)
    weights, gradient = random.standard_normal((2, 50)).astype(np.float32)
    expected = update_in_double(name, weights.astype(np.float64), gradient.astype(np.float64))
    update = Update(name, weights, gradient)
    before = weights.copy()
    update()
    assert weights == pytest.approx(expected, rel=1e-5)
    update.forget()
    weights[:] = before
    update()
    assert weights == pytest.approx(expected, rel=1e-5)


# What is sent.


def sent_elements(context: Context, **axes: Axis) -> float:
    case = make_case("training_step", part="exchange", **axes)
    ranks = int(axes["ranks"])
    operation = Meeting(ranks, per_node=1).prepare(STEP, case, context)[0]
    return float(operation.params["sent_bytes"]) / ITEM


def test_two_ranks_send_what_the_posts_count(context: Context) -> None:
    """500,000 numbers by data; 128,000 by rows and 160,000 by columns of the weights."""
    sent = {
        split: sent_elements(context, split=split, batch=128, d_in=1000, d_out=500, ranks=2)
        for split in ("data", "row", "column")
    }
    assert sent == {"data": 500_000, "row": 128_000, "column": 160_000}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(("batch", "d_in", "d_out"), [(128, 1000, 500), (16, 40, 80)])
def test_what_is_sent_is_what_the_model_of_splits_says(
    ranks: int, batch: int, d_in: int, d_out: int, context: Context
) -> None:
    model = split_layer(batch, d_in, d_out, ranks)
    sizes: dict[str, Axis] = {"batch": batch, "d_in": d_in, "d_out": d_out, "ranks": ranks}
    sent = [sent_elements(context, split=split, **sizes) for split in ("data", "row", "column")]
    assert sent == [model.data_elements, model.row_elements, model.column_elements]


@pytest.mark.parametrize(("split", "batch"), [("row", 500), ("column", 400)])
def test_data_and_model_parallelism_send_the_same_at_the_crossover(
    split: str, batch: int, context: Context
) -> None:
    sizes: dict[str, Axis] = {"batch": batch, "d_in": 1000, "d_out": 500, "ranks": 2}
    data, model = (sent_elements(context, split=name, **sizes) for name in ("data", split))
    assert data == model


def test_one_bit_sends_a_32nd_and_its_scales(context: Context) -> None:
    sizes: dict[str, Axis] = {"batch": 8, "d_in": 1000, "d_out": 500, "ranks": 2}
    whole = sent_elements(context, split="data", **sizes)
    bits = sent_elements(context, split="data", strategy="one-bit", **sizes)
    assert whole / 32 < bits < 1.05 * whole / 32


# Overlap.


def test_an_exchange_is_cut_where_it_first_waits() -> None:
    schedule = Schedule()
    schedule.start_receive(0, 4, 1)
    schedule.start_send(4, 4, 1)
    schedule.wait()
    schedule.add(0, 4, 1, "fp32")
    ((head,), (tail,)) = split_exchange([schedule.cut()])
    assert not callable(head)
    assert not callable(tail)
    assert head.table[:, 0].tolist() == [Code.IRECV, Code.ISEND]
    assert tail.table[:, 0].tolist() == [Code.WAITALL, Code.ADD]
    assert head.requests == tail.requests == 2


def test_phases_are_run_in_order_and_reset_before_the_clock(context: Context) -> None:
    order: list[str] = []
    phases = Phases(
        Loops(Meeting(1), 0),
        [lambda: order.append("a"), lambda: order.append("b")],
        Schedule().cut(),
        lambda: order.append("reset"),
    )
    seconds = np.empty(2)
    phases.run(seconds, 2)
    assert order == ["reset", "a", "b"] * 4
    assert len(phases.compute_s) == 2
    assert all(
        0 <= computed <= total for computed, total in zip(phases.compute_s, seconds, strict=True)
    )


# What it refuses, and what a row says.


@pytest.mark.parametrize(
    ("axes", "needs"),
    [
        ({"ranks": 14}, "needs batch of 14"),
        ({"split": "hybrid"}, "two layers"),
        ({"split": "row", "strategy": "one-bit"}, "split data"),
        ({"posting": "rounds"}, "strategy naive"),
        ({"overlap": "backward"}, "two data-parallel layers"),
        ({"overlap": "backward", "layers": 2, "strategy": "library"}, "another strategy"),
    ],
)
def test_axes_that_do_not_go_together_are_a_reason(
    axes: dict[str, Axis], needs: str, context: Context
) -> None:
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    assert needs in (STEP.unsupported(step_case(**axes), here) or "")
    assert "needs MPI" in (STEP.unsupported(step_case(), context) or "")
    assert STEP.unsupported(step_case(), here) is None


def test_the_work_of_a_step_is_three_products_a_layer() -> None:
    case = step_case(batch=10, d_in=3, d_out=5, layers=2)
    assert STEP.work(case).flop == 6 * 10 * (15 + 25)


SUITE = """
[suite]
name = "steps"
cap_s = 0.01
[[benchmark]]
name = "training_step"
batch = 32
d_in = 64
d_out = 48
layers = 2
split = ["data", "row", "column", "hybrid"]
[[benchmark]]
name = "training_step"
batch = 32
d_in = 64
d_out = 48
layers = 2
split = "hybrid"
ranks = 4
[[benchmark]]
name = "training_step"
batch = 32
d_in = 64
d_out = 48
layers = 3
split = "data"
strategy = ["library", "one-bit"]
overlap = ["none", "backward"]
optimiser = "rmsprop"
[[benchmark]]
name = "training_step"
batch = 32
d_in = 64
d_out = 48
split = ["data", "row"]
part = "exchange"
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_steps_of_2_and_4_ranks_are_measured_and_right(tmp_path: Any) -> None:
    rows = by_case(run(tmp_path, suite=SUITE))
    assert len(rows) == 4 + 1 + 4 + 2
    for row in rows.values():
        params = parse_params(row.params)
        if params["overlap"] != "none" and row.algorithm == "library":
            assert row.status is Status.SKIPPED
            continue
        assert row.status is Status.OK, row.reason
        assert row.bytes_checked
        assert row.bytes_wrong == 0
        assert (row.timing_layer or "").startswith("numpy+")
        if params["part"] == "exchange":
            assert row.tflops is None
            assert "speedup" not in params
            continue
        assert row.tflops
        alone_s = float(params["one_rank_s"])
        assert float(params["speedup"]) == pytest.approx(alone_s / (row.t_median_s or 0), rel=1e-3)
        assert 0 <= int(params["compute_percent"]) <= 100
