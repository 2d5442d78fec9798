"""Training steps: splits of a layer, overlap, memory, and what is faster when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.datasheet.collectives import Cluster, ring
from bench.predict.model.datasheet.products import Processor, product
from bench.predict.model.datasheet.splits import split_layer
from bench.predict.model.datasheet.step import (
    STATES,
    Layer,
    Training,
    data_step,
    hybrid_step,
    model_step,
    parameter_bytes,
    split_step,
)

CHIP = Processor(4.5e12, 4.71e12, 288.4e9, 14, ((64, 128),))
CONVOLUTION = Layer("conv", 1200, 256, rows=729)
DENSE = (Layer("fc6", 9216, 4096), Layer("fc7", 4096, 4096))

widths = st.integers(1, 3000)
layers = st.lists(
    st.builds(Layer, st.uuids().map(str), widths, widths, st.integers(1, 50)),
    min_size=1,
    max_size=4,
)
trainings = st.builds(
    Training,
    st.builds(
        Cluster,
        st.integers(1, 4),
        st.integers(1, 4),
        st.floats(1e7, 1e12),
        st.floats(1e7, 1e12),
        st.floats(0, 1e-4),
    ),
    st.just(CHIP),
    st.sampled_from([2, 4]),
    st.sampled_from(["naive", "ring", "hierarchical"]),
    st.sampled_from(sorted(STATES)),
    st.sampled_from([0, 10**6, 10**9]),
)
ways = st.sampled_from([data_step, model_step])


def test_the_posts_layer_split_in_two():
    split = split_layer(128, 1000, 500, 2)
    assert split.data_elements == 500_000
    assert split.row_elements == 128_000
    assert split.column_elements == 160_000
    assert (split.row_crossover_batch, split.column_crossover_batch) == (500, 400)


def test_the_same_layer_split_in_four():
    split = split_layer(128, 1000, 500, 4)
    assert (split.data_elements, split.row_elements) == (750_000, 192_000)
    assert split.column_elements == 240_000
    assert split.row_crossover_batch == 500


@given(widths, widths, st.integers(2, 64))
def test_at_its_crossover_a_split_moves_as_much_as_the_gradients(d_in, d_out, ranks):
    split = split_layer(1, d_in, d_out, ranks)
    for elements, batch in (
        (split.row_elements, split.row_crossover_batch),
        (split.column_elements, split.column_crossover_batch),
    ):
        assert elements * batch == pytest.approx(split.data_elements)


@given(st.integers(1, 1000), widths, widths)
def test_one_rank_moves_nothing(batch, d_in, d_out):
    split = split_layer(batch, d_in, d_out, 1)
    assert split.data_elements == split.row_elements == split.column_elements == 0
    assert split.row_crossover_batch is None


def test_a_step_of_one_layer_by_hand():
    training = Training(Cluster(2, 1, 4e9), CHIP, 4)
    layer = Layer("dense", 1000, 1000)
    step = data_step([layer], 128, training)
    forward = product((64, 1000, 1000), 4, CHIP).seconds
    weights = product((1000, 64, 1000), 4, CHIP).seconds
    exchange = ring(Cluster(2, 1, 4e9), 4e6).seconds
    update = 3 * 4e6 / 288.4e9
    # The last gradients of a step have nothing left to hide behind.
    assert step.seconds == pytest.approx(forward + weights + exchange + update)
    assert step.hidden_s == pytest.approx(0, abs=1e-12)
    assert step.high_s == pytest.approx(step.seconds)


def test_gradients_of_later_layers_hide_behind_backward_of_earlier_ones():
    training = Training(Cluster(2, 1, 100e9), CHIP, 4)
    step = data_step([Layer(f"{i}", 1000, 1000) for i in range(6)], 512, training)
    one = ring(Cluster(2, 1, 100e9), 4e6).seconds
    assert step.hidden_s == pytest.approx(5 * one)
    waiting = Training(Cluster(2, 1, 100e9), CHIP, 4, bucket=10**9)
    together = data_step([Layer(f"{i}", 1000, 1000) for i in range(6)], 512, waiting)
    assert together.hidden_s == pytest.approx(0, abs=1e-12)
    assert together.seconds > step.seconds


def test_convolutions_by_data_and_dense_layers_by_model():
    # What Krizhevsky found by hand: few weights and many activations first, then the reverse.
    training = Training(Cluster(2, 3, 4e9, 15.754e9), CHIP, 4, "hierarchical")
    net = (CONVOLUTION, *DENSE)
    hybrid = hybrid_step(net, 128, training)
    assert hybrid.splits[0] == "data"
    assert "data" not in hybrid.splits[1:]
    assert hybrid.seconds < data_step(net, 128, training).seconds
    assert hybrid.seconds < model_step(net, 128, training).seconds


def test_small_batches_favour_the_model_and_large_ones_the_data():
    training = Training(Cluster(4, 1, 4e9), CHIP, 4)
    assert model_step(DENSE, 32, training).seconds < data_step(DENSE, 32, training).seconds
    assert model_step(DENSE, 8192, training).seconds > data_step(DENSE, 8192, training).seconds


def test_a_hybrid_of_one_layer_is_refused():
    with pytest.raises(ValueError, match="two layers"):
        hybrid_step(DENSE[:1], 32, Training(Cluster(2, 1, 4e9), CHIP, 4))


@pytest.mark.parametrize(
    ("element", "optimiser", "touched", "held"),
    [(4, "sgd", 12, 8), (4, "momentum", 20, 12), (4, "adam", 28, 16), (2, "adam", 28, 16),
     (2, "sgd", 12, 8)],
)  # fmt: skip
def test_bytes_that_an_optimiser_needs(element, optimiser, touched, held):
    assert parameter_bytes(element, optimiser) == (touched, held)


def test_splitting_the_model_splits_its_memory():
    one, four = (Training(Cluster(p, 1, 4e9), CHIP, 4, optimiser="adam") for p in (1, 4))
    weights = sum(layer.d_in * layer.d_out for layer in DENSE)
    assert data_step(DENSE, 4, one).memory_bytes == pytest.approx(16 * weights, rel=1e-3)
    assert data_step(DENSE, 4, four).memory_bytes == pytest.approx(16 * weights, rel=1e-3)
    assert model_step(DENSE, 4, four).memory_bytes == pytest.approx(4 * weights, rel=5e-3)


@given(layers, st.integers(1, 500), trainings, ways)
def test_a_step_lies_in_its_bracket(net, batch, training, way):
    step = way(net, batch, training)
    assert step.low_s <= step.seconds * (1 + 1e-9)
    assert step.seconds <= step.high_s * (1 + 1e-9)
    assert 0 <= step.hidden_s <= step.exchange_s * (1 + 1e-9)


@given(layers, st.integers(1, 500), trainings, ways)
def test_one_gpu_exchanges_nothing(net, batch, training, way):
    alone = Training(Cluster(1, 1, 1e9), CHIP, training.element, training.algorithm)
    step = way(net, batch, alone)
    assert step.exchange_s == step.hidden_s == 0
    assert step.seconds == pytest.approx(step.high_s)


@given(layers, st.integers(1, 300), st.integers(0, 300), trainings)
def test_a_larger_batch_never_costs_less(net, batch, more, training):
    splits = ["data"] * len(net)
    small = split_step(net, splits, batch, training)
    large = split_step(net, splits, batch + more, training)
    assert large.seconds >= small.seconds * (1 - 1e-9)
    assert large.memory_bytes >= small.memory_bytes


@given(layers, st.integers(1, 300), trainings, ways, st.floats(1, 100))
def test_a_faster_network_never_costs_more_for_the_same_splits(net, batch, training, way, times):
    splits = way(net, batch, training).splits
    old = training.cluster
    wider = Cluster(old.nodes, old.gpus, old.network * times, old.intra, old.latency_s)
    faster = Training(wider, CHIP, training.element, training.algorithm, training.optimiser)
    slower = Training(old, CHIP, training.element, training.algorithm, training.optimiser)
    before = split_step(net, splits, batch, slower).seconds
    assert split_step(net, splits, batch, faster).seconds <= before * (1 + 1e-9)
