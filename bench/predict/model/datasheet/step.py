"""One training step of dense layers on several GPUs: data parallel, model parallel, or both.

Forward is one product a layer, backward two (the gradients of the input and of the weights; the
first layer needs only the latter). Data-parallel gradients are all-reduced bucket by bucket while
backward goes on; what model-parallel layers exchange is waited for. Then the optimiser reads and
writes every parameter. That communication slows computation down beside it is not in here: it is
no fact of a datasheet.

A convolution is a dense layer too: its outputs are rows of a product with the weights of a filter
(im2col). Hybrid is data parallel up to a layer and model parallel from there on (Krizhevsky,
arXiv:1404.5997).
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Literal

import msgspec

from bench.predict.model.datasheet.collectives import ALGORITHMS, GATHERS, Cluster, Time
from bench.predict.model.datasheet.products import Processor, product

Split = Literal["data", "row", "column"]
Shape = tuple[int, int, int]

STATES = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
"""Numbers in fp32 that an optimiser keeps for every parameter."""


class Layer(msgspec.Struct, frozen=True):
    """Dense weights, and how many rows of the product an example makes."""

    name: str
    d_in: int
    d_out: int
    rows: int = 1


class Training(msgspec.Struct, frozen=True):
    """What does the step, and how."""

    cluster: Cluster
    processor: Processor
    element: int
    """Bytes of a weight, a gradient or an activation."""
    algorithm: str = "ring"
    optimiser: str = "sgd"
    bucket: int = 0
    """Bytes of gradients that are exchanged together; 0 exchanges each layer's alone."""


class ExchangeTime(msgspec.Struct, frozen=True):
    """Seconds of a collective with its limits; they are equal where the model has no bracket."""

    low_s: float = 0.0
    seconds: float = 0.0
    high_s: float = 0.0

    def __add__(self, other: "ExchangeTime") -> "ExchangeTime":
        return ExchangeTime(
            self.low_s + other.low_s, self.seconds + other.seconds, self.high_s + other.high_s
        )


class Step(msgspec.Struct, frozen=True):
    """Seconds of a step from overlap of everything to none, its parts, and memory per GPU."""

    seconds: float
    low_s: float
    high_s: float
    compute_s: float
    exchange_s: float
    hidden_s: float
    """Of the exchange, what backward hides."""
    optimiser_s: float
    memory_bytes: int
    splits: tuple[Split, ...]


def data_step(layers: Sequence[Layer], batch: int, training: Training) -> Step:
    """Predict a step in which every rank has all weights and its share of the batch."""
    splits: list[Split] = ["data"] * len(layers)
    return split_step(layers, splits, batch, training)


def model_step(layers: Sequence[Layer], batch: int, training: Training) -> Step:
    """Predict a step in which every rank has a share of all weights and the whole batch."""
    return split_step(layers, _model_splits(layers, batch, training), batch, training)


def hybrid_step(layers: Sequence[Layer], batch: int, training: Training) -> Step:
    """Predict the fastest step that is data parallel first and model parallel from a layer on.

    Raises:
        ValueError: where there are fewer than two layers.
    """
    if len(layers) < 2:
        raise ValueError("a hybrid needs two layers: the first data parallel, the last split")
    by_model = _model_splits(layers, batch, training)
    steps = []
    for first_split in range(1, len(layers)):
        splits: list[Split] = ["data"] * first_split
        splits += by_model[first_split:]
        steps.append(split_step(layers, splits, batch, training))
    return min(steps, key=lambda step: step.seconds)


def split_step(
    layers: Sequence[Layer], splits: Sequence[Split], batch: int, training: Training
) -> Step:
    """Predict a step with the split of each layer given.

    Args:
        layers: in forward order.
        splits: of each layer.
        batch: examples of all ranks together.
        training: machine and method.
    """
    now, network_free = 0.0, 0.0
    exchanged, waiting = ExchangeTime(), 0
    for i, layer in enumerate(layers):
        now += _seconds(_forward(layer, splits[i], batch, training), training)
        wait = _forward_exchange(layers, splits, i, batch, training)
        now += wait.seconds
        exchanged += wait
    blocking_s = exchanged.seconds
    network_free = now
    for i, layer in reversed(list(enumerate(layers))):
        now += _seconds(_backward(layer, splits[i], batch, training, i == 0), training)
        if splits[i] != "data":
            wait = _backward_exchange(layers, splits, i, batch, training)
            now = network_free = max(now, network_free) + wait.seconds
            blocking_s += wait.seconds
            exchanged += wait
            continue
        waiting += layer.d_in * layer.d_out * training.element
        if waiting >= training.bucket or not any(s == "data" for s in splits[:i]):
            bucket = _reduce(waiting, training)
            network_free = max(now, network_free) + bucket.seconds
            exchanged += bucket
            waiting = 0
    end = max(now, network_free)
    shapes = [s for i in range(len(layers)) for s in _products(layers, splits, i, batch, training)]
    compute_s = _seconds(shapes, training)
    roof_s = sum(product(s, training.element, training.processor).roof_s for s in shapes)
    update_s = _update_seconds(layers, splits, training)
    return Step(
        seconds=end + update_s,
        low_s=max(roof_s + update_s, exchanged.low_s),
        high_s=compute_s + exchanged.high_s + update_s,
        compute_s=compute_s,
        exchange_s=exchanged.seconds,
        # Rounding can leave a speck where nothing is exchanged.
        hidden_s=min(exchanged.seconds, max(0.0, compute_s + exchanged.seconds - end)),
        optimiser_s=update_s,
        memory_bytes=_memory(layers, splits, batch, training),
        splits=tuple(splits),
    )


def parameter_bytes(element: int, optimiser: str) -> tuple[int, int]:
    """Return bytes that an update touches, and that memory holds, per parameter.

    In fp32: weights and gradients are read, weights written, states read and written. In 16 bit a
    copy of the weights in fp32 is read and written too (16 bytes held for Adam, as in Rajbhandari
    et al., SC 2020).
    """
    states = STATES[optimiser]
    if element >= 4:
        return (3 + 2 * states) * element, (2 + states) * element
    return 2 * element + 8 + 8 * states, 2 * element + 4 + 4 * states


def _model_splits(layers: Sequence[Layer], batch: int, training: Training) -> tuple[Split, ...]:
    """Return for each layer the cheaper way to split it, exchange and products together."""
    chosen: list[Split] = []
    for i in range(len(layers)):
        ways: dict[Split, float] = {}
        for way in ("row", "column"):
            splits: list[Split] = [way] * len(layers)
            ways[way] = (
                _seconds(_products(layers, splits, i, batch, training), training)
                + _forward_exchange(layers, splits, i, batch, training).seconds
                + _backward_exchange(layers, splits, i, batch, training).seconds
            )
        chosen.append("row" if ways["row"] <= ways["column"] else "column")
    return tuple(chosen)


def _products(
    layers: Sequence[Layer], splits: Sequence[Split], i: int, batch: int, training: Training
) -> list[Shape]:
    return [
        *_forward(layers[i], splits[i], batch, training),
        *_backward(layers[i], splits[i], batch, training, i == 0),
    ]


def _forward(layer: Layer, split: Split, batch: int, training: Training) -> list[Shape]:
    return [_shape(layer, split, batch, training)]


def _backward(
    layer: Layer, split: Split, batch: int, training: Training, first: bool
) -> Iterator[Shape]:
    m, k, n = _shape(layer, split, batch, training)
    if not first:
        yield m, n, k
    yield k, m, n


def _shape(layer: Layer, split: Split, batch: int, training: Training) -> Shape:
    ranks = training.cluster.ranks
    if split == "data":
        return ceil(batch / ranks) * layer.rows, layer.d_in, layer.d_out
    if split == "row":
        return batch * layer.rows, ceil(layer.d_in / ranks), layer.d_out
    return batch * layer.rows, layer.d_in, ceil(layer.d_out / ranks)


def _seconds(shapes: Iterator[Shape] | list[Shape], training: Training) -> float:
    return sum(product(s, training.element, training.processor).seconds for s in shapes)


def _forward_exchange(
    layers: Sequence[Layer], splits: Sequence[Split], i: int, batch: int, training: Training
) -> ExchangeTime:
    layer, split = layers[i], splits[i]
    if split == "data":
        return ExchangeTime()
    examples = batch * layer.rows * training.element
    out = _reduce if split == "row" else _gather
    exchange = out(examples * layer.d_out, training)
    if i and splits[i - 1] == "data":
        # Each rank has the activations of its own examples; from here on it needs everyone's.
        exchange += _gather(examples * layer.d_in, training)
    return exchange


def _backward_exchange(
    layers: Sequence[Layer], splits: Sequence[Split], i: int, batch: int, training: Training
) -> ExchangeTime:
    if splits[i] == "data" or i == 0:
        return ExchangeTime()
    back = _gather if splits[i] == "row" else _reduce
    return back(batch * layers[i].rows * layers[i].d_in * training.element, training)


def _reduce(size: float, training: Training) -> ExchangeTime:
    return _exchange(ALGORITHMS[training.algorithm](training.cluster, size))


def _gather(size: float, training: Training) -> ExchangeTime:
    return _exchange(GATHERS[training.algorithm](training.cluster, size, "all-gather"))


def _exchange(time: Time) -> ExchangeTime:
    low_s = time.seconds if time.low_s is None else time.low_s
    return ExchangeTime(low_s, time.seconds, time.seconds if time.high_s is None else time.high_s)


def _own_parameters(layer: Layer, split: Split, ranks: int) -> int:
    if split == "data":
        return layer.d_in * layer.d_out
    if split == "row":
        return ceil(layer.d_in / ranks) * layer.d_out
    return layer.d_in * ceil(layer.d_out / ranks)


def _update_seconds(layers: Sequence[Layer], splits: Sequence[Split], training: Training) -> float:
    ranks = training.cluster.ranks
    own = sum(_own_parameters(layer, s, ranks) for layer, s in zip(layers, splits, strict=True))
    touched, _ = parameter_bytes(training.element, training.optimiser)
    return own * touched / training.processor.bandwidth


def _memory(
    layers: Sequence[Layer], splits: Sequence[Split], batch: int, training: Training
) -> int:
    """Count weights, gradients, optimiser, the inputs kept for backward, and the last output."""
    ranks = training.cluster.ranks
    _, held = parameter_bytes(training.element, training.optimiser)
    total = 0
    for layer, split in zip(layers, splits, strict=True):
        m, k, _ = _shape(layer, split, batch, training)
        total += _own_parameters(layer, split, ranks) * held + m * k * training.element
    own = ceil(batch / ranks) if splits[-1] == "data" else batch
    return total + own * layers[-1].rows * layers[-1].d_out * training.element
