"""Layers on one another, and the order of a step: forward, backward, exchange, update."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bench.core.schedule import Code, Steps
from bench.measure.exchange.phases import Phase
from bench.measure.training.numbers import Truth, Values, Whole
from bench.measure.training.optimiser import Update, update_in_double
from bench.measure.training.splits import (
    ColumnLayer,
    DataLayer,
    Matrix,
    RowLayer,
    SplitLayer,
    StepsOf,
    Surroundings,
)

SPLITS = ("data", "row", "column", "hybrid")
OVERLAPS = ("none", "backward", "optimiser")


def split_layers(split: str, layers: int) -> list[str]:
    """Return the split of each layer; hybrid is data parallel below and by rows above.

    Krizhevsky, arXiv:1404.5997, has convolutions below, which are products too.
    """
    if split == "hybrid":
        return ["data"] * (layers // 2) + ["row"] * (layers - layers // 2)
    return [split] * layers


class DenseNetwork:
    """This rank's layers.

    Args:
        site: where.
        splits: of each layer.
        widths: of the input, and of the output of each layer.
        batch: examples of all ranks together.
        optimiser: by name.
    """

    def __init__(
        self,
        site: Surroundings,
        splits: Sequence[str],
        widths: Sequence[int],
        batch: int,
        optimiser: str,
    ) -> None:
        self.splits = splits
        self.input = np.empty((batch, widths[0]), np.float32)
        self.slope = np.empty((batch, widths[-1]), np.float32)
        """The gradient of the last output."""
        place = site.place
        self.mine = slice(
            batch * place.rank // place.ranks, batch * (place.rank + 1) // place.ranks
        )
        source = self.input[self.mine] if splits[0] == "data" else self.input
        self.layers: list[SplitLayer] = []
        for i, (split, d_out) in enumerate(zip(splits, widths[1:], strict=True)):
            gathers = "data" in split and i + 1 < len(splits) and splits[i + 1] != "data"
            self.layers.append(_make_layer(site, split, source, batch, d_out, gathers))
            source = self.layers[-1].output
        slope = self.slope
        for i in reversed(range(len(splits))):
            above_is_whole = i + 1 == len(splits) or splits[i + 1] != "data"
            whole = splits[i] == "data" and above_is_whole
            self.layers[i].output_gradient = slope[self.mine] if whole else slope
            slope = self.layers[i].input_gradient
        self._first: list[Matrix] = []
        self.updates = [Update(optimiser, layer.weights, layer.gradient) for layer in self.layers]

    def load(self, values: Values) -> None:
        """Write the input, the last gradient and this rank's weights, and forget earlier steps."""
        self.input[:], self.slope[:] = values.source, values.slope
        self._first = [
            layer.part_of(whole).astype(np.float32)
            for layer, whole in zip(self.layers, values.weights, strict=True)
        ]
        self.restore()
        for update in self.updates:
            update.forget()
        for layer in self.layers:
            layer.forget()

    def restore(self) -> None:
        """Write the weights that were loaded again."""
        for layer, first in zip(self.layers, self._first, strict=True):
            layer.weights[:] = first

    def poison(self) -> None:
        """Make every result wrong, so that each has to be computed."""
        for layer in self.layers:
            for result in (layer.output, layer.input_gradient, layer.gradient):
                result.fill(np.nan)

    def count_wrong(self, values: Values, truth: Truth, optimiser: str) -> tuple[int, int]:
        """Return the numbers compared with what one rank alone gets, and how many were wrong."""
        compared = wrong = 0
        for i, layer in enumerate(self.layers):
            pair = (truth.sources[i], truth.slopes[i + 1])
            gradient = layer.expected_gradient(*pair)
            weights = update_in_double(optimiser, layer.part_of(values.weights[i]), gradient)
            output, slope = layer.rows_of(truth.sources[i + 1]), truth.slopes[i]
            exact: list[tuple[Matrix, Whole]] = [
                (layer.output, output),
                (layer.input_gradient, layer.rows_below(slope)),
                (layer.gradient, gradient),
            ]
            for found, expected in exact:
                compared += expected.size
                wrong += int(np.count_nonzero(found != expected))
            compared += weights.size
            close = np.isclose(layer.weights, weights, rtol=1e-5, atol=1e-5)
            wrong += int(np.count_nonzero(~close)) + layer.lost()
        return compared, wrong

    def bare(self) -> list[StepsOf]:
        """Return the steps of any rank, for all that is sent in a step."""
        return [steps for layer in self.layers for steps in layer.bare]

    def phases(self, overlap: str) -> list[Phase]:
        """Return a whole step.

        Args:
            overlap: what goes on while a layer's gradient is exchanged: nothing, `backward` of
                the layer below, or the `optimiser` on the layer above.
        """
        forward = [phase for layer in self.layers for phase in layer.forward]
        down = list(reversed(self.layers))
        if overlap == "none":
            backward = [phase for layer in down for phase in layer.backward]
            exchange = [phase for layer in down for phase in layer.exchange]
            return [*forward, *backward, *exchange, *self.updates]
        if overlap == "backward":
            return [*forward, *_beside_backward(down), *self.updates]
        backward = [phase for layer in down for phase in layer.backward]
        return [*forward, *backward, *_beside_updates(down, list(reversed(self.updates)))]


def _make_layer(
    site: Surroundings, split: str, source: Matrix, batch: int, d_out: int, gathers: bool
) -> SplitLayer:
    if split == "data":
        return DataLayer(site, source, batch, d_out, gathers)
    return (RowLayer if split == "row" else ColumnLayer)(site, source, d_out)


def _beside_backward(down: Sequence[SplitLayer]) -> list[Phase]:
    """Let the exchange of a layer go on while the layer below goes backward."""
    phases: list[Phase] = []
    rest: list[Phase] = []
    for layer in down:
        phases += [*layer.backward, *rest]
        started, rest = split_exchange(layer.exchange)
        phases += started
    return phases + rest


def _beside_updates(down: Sequence[SplitLayer], updates: Sequence[Phase]) -> list[Phase]:
    """Let the exchange of a layer go on while the layer above is updated."""
    phases: list[Phase] = []
    above: list[Phase] = []
    for layer, update in zip(down, updates, strict=True):
        started, rest = split_exchange(layer.exchange)
        phases += [*started, *above, *rest]
        above = [update]
    return phases + above


def split_exchange(exchange: Sequence[Phase]) -> tuple[list[Phase], list[Phase]]:
    """Cut an exchange before it first waits for messages, which then are on their way."""
    for i, phase in enumerate(exchange):
        if not isinstance(phase, Steps):
            continue
        waits = np.flatnonzero(phase.table[:, 0] == Code.WAITALL)
        if waits.size:
            head = phase._replace(table=phase.table[: waits[0]])
            tail = phase._replace(table=phase.table[waits[0] :])
            return [*exchange[:i], head], [tail, *exchange[i + 1 :]]
    return [], list(exchange)


def widths_of(d_in: int, d_out: int, layers: int) -> list[int]:
    """Return d_in, and d_out for the output of every layer."""
    return [d_in, *[d_out] * layers]


def weights_of(widths: Sequence[int]) -> int:
    """Return the number of all weights."""
    return sum(below * above for below, above in pairwise(widths))
