"""Dense layers, split among ranks by the batch (`data`), or their weights by rows or columns.

Y = X W forward, dX = dY W' and dW = X' dY backward, in every layer: the first one here stands on
others. What ranks exchange (models.md, Splits):

- data: sums of dW;
- row: the weights' first dimension; partial products are added up forward, dX put together;
- column: the second dimension; Y is put together forward, partial dX are added up.

Each layer yields phases; NumPy computes between the schedules of messages.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contracts import Buffer, Memory
from bench.core.schedule import Schedule, Steps
from bench.measure.exchange import one_bit, ring
from bench.measure.exchange.gradient import choose, ring_of_bytes
from bench.measure.exchange.parts import ITEM, Addresses, RankOnNode, cut_evenly, spread
from bench.measure.exchange.phases import Phase
from bench.measure.training.numbers import Whole

Matrix = NDArray[np.float32]
StepsOf = Callable[[RankOnNode], Steps]
"""The steps of any rank, without addresses."""


class Summing(NamedTuple):
    """How ranks add up: the strategy, and the posting of naive messages."""

    strategy: str
    posting: str


class Surroundings(NamedTuple):
    """Where layers are: this rank among all, its memory, and how sums are made."""

    place: RankOnNode
    memory: Memory
    way: Summing


class Shared(NamedTuple):
    """A matrix that messages carry."""

    buffer: Buffer
    numbers: Matrix


def share(memory: Memory, *shape: int) -> Shared:
    """Allocate a matrix that messages can carry."""
    buffer = memory.allocate(max(1, int(np.prod(shape))) * ITEM)
    count = int(np.prod(shape))
    return Shared(buffer, buffer.read().view(np.float32)[:count].reshape(shape))


class Sum:
    """The sum of a matrix over all ranks.

    Args:
        site: of the layer.
        own: what this rank adds; with one rank, the sum too.
    """

    def __init__(self, site: Surroundings, own: Shared) -> None:
        place, way, count = site.place, site.way, own.numbers.size
        if way.strategy == "one-bit":  # of activations nothing may be left out
            way = way._replace(strategy="ring")
        self.total = own if place.ranks == 1 else share(site.memory, *own.numbers.shape)
        chosen = choose(way.strategy, way.posting, place, count)
        self._room = share(site.memory, chosen.room)
        at = Addresses(own.buffer.address, self.total.buffer.address, self._room.buffer.address)
        self.phases: list[Phase] = [_sum_steps(place, at, count, way)] if place.ranks > 1 else []
        self.bare: StepsOf = lambda place: _sum_steps(place, Addresses(0, 0, 0), count, way)


def _sum_steps(place: RankOnNode, at: Addresses, count: int, way: Summing) -> Steps:
    schedule = Schedule()
    choose(way.strategy, way.posting, place, count).write(schedule, place, at, count)
    return schedule.cut()


class OneBitSum:
    """The sum of what one bit of each number stands for; the rest is kept for the next step."""

    def __init__(self, site: Surroundings, own: Shared) -> None:
        place, self._count, self._own = site.place, own.numbers.size, own.numbers
        self._rank = place.rank
        size = one_bit.wire_bytes(self._count)
        bounds = spread([size] * place.ranks)
        self._buffer = site.memory.allocate(size * place.ranks)
        self.total = share(site.memory, *own.numbers.shape)
        self.feedback = one_bit.Feedback(self._count)
        self.bare: StepsOf = lambda place: ring_of_bytes(place, 0, bounds)
        self._steps = ring_of_bytes(place, self._buffer.address, bounds)

    @property
    def phases(self) -> list[Phase]:
        """What is done in order."""
        return [self._encode, self._steps, self._add_up]

    def _encode(self) -> None:
        self.feedback.encode(self._own.reshape(-1), self._messages()[self._rank])

    def _add_up(self) -> None:
        one_bit.add_up(self._messages(), self._count, self.total.numbers.reshape(-1))

    def _messages(self) -> NDArray[np.uint8]:
        return self._buffer.read().reshape(-1, one_bit.wire_bytes(self._count))


class Stack:
    """A matrix put together from blocks of columns, one of each rank.

    Args:
        site: of the layer.
        rows: of the matrix.
        columns: of the matrix.
    """

    def __init__(self, site: Surroundings, rows: int, columns: int) -> None:
        ranks = site.place.ranks
        self._cuts = cut_evenly(columns, ranks)
        self._bounds = [rows * cut for cut in self._cuts]
        self._flat = share(site.memory, rows * columns)
        self._rows = rows
        self.whole: Matrix = np.empty((rows, columns), np.float32)
        self.block = self._block(site.place.rank)
        """This rank's columns."""
        bounds = self._bounds
        self.bare: StepsOf = lambda place: _gather_steps(place, 0, bounds)
        self._gather = _gather_steps(site.place, self._flat.buffer.address, bounds)

    @property
    def phases(self) -> list[Phase]:
        """What is done in order."""
        return [self._gather, self._assemble]

    def _block(self, rank: int) -> Matrix:
        first, last = self._bounds[rank], self._bounds[rank + 1]
        block: Matrix = self._flat.numbers[first:last].reshape(
            self._rows, self._cuts[rank + 1] - self._cuts[rank]
        )
        return block

    def _assemble(self) -> None:
        for rank, (first, last) in enumerate(pairwise(self._cuts)):
            self.whole[:, first:last] = self._block(rank)


def _gather_steps(place: RankOnNode, address: int, bounds: list[int]) -> Steps:
    schedule = Schedule()
    ring.all_gather(schedule, range(place.ranks), place.rank, address, bounds)
    return schedule.cut()


class SplitLayer:
    """What all splits have; each names its phases.

    Phases are made when they are asked for: a layer that held its own methods would hold itself,
    and stay when its case is over.

    Args:
        source: the input, of this rank's rows in a data-parallel layer, of all rows elsewhere.
    """

    source: Matrix
    weights: Matrix
    """This rank's part."""
    output: Matrix
    output_gradient: Matrix
    """Set by the network, from the layer above."""
    input_gradient: Matrix
    gradient: Matrix
    """Of this rank's weights, as the optimiser takes it."""
    bare: list[StepsOf]
    """All that is sent in a step."""

    @property
    def forward(self) -> list[Phase]:
        """From the input to the output."""
        raise NotImplementedError

    @property
    def backward(self) -> list[Phase]:
        """From the output's gradient to those of the weights and of the input."""
        raise NotImplementedError

    @property
    def exchange(self) -> list[Phase]:
        """What adds up weight gradients; other work can go on meanwhile."""
        return []

    def part_of(self, weights: Whole) -> Whole:
        """Return this rank's part of all weights, or of all of their gradients."""
        return weights

    def rows_of(self, output: Whole) -> Whole:
        """Return what this rank has of the output."""
        return output

    def rows_below(self, slope: Whole) -> Whole:
        """Return what this rank has of the input's gradient."""
        return slope

    def expected_gradient(self, source: Whole, slope: Whole) -> Whole:
        """Return what the optimiser is to get, from the whole input and output gradient."""
        return self.part_of(source.T @ slope)

    def forget(self) -> None:
        """Keep nothing of earlier steps."""

    def lost(self) -> int:
        """Return the numbers that neither were sent nor are kept."""
        return 0


class DataLayer(SplitLayer):
    """All weights on every rank, and its rows of the batch.

    Args:
        site: where.
        source: this rank's rows of the input.
        rows: of the whole batch.
        d_out: columns of the weights.
        gathers: whether the layer above needs the outputs of all ranks.
    """

    def __init__(
        self, site: Surroundings, source: Matrix, rows: int, d_out: int, gathers: bool
    ) -> None:
        self.source, d_in = source, source.shape[1]
        bounds = cut_evenly(rows, site.place.ranks)
        self._bounds, self._gathers = bounds, gathers
        self.mine = slice(bounds[site.place.rank], bounds[site.place.rank + 1])
        self.weights = np.empty((d_in, d_out), np.float32)
        all_rows = share(site.memory, rows if gathers else source.shape[0], d_out)
        self._product = all_rows.numbers[self.mine] if gathers else all_rows.numbers
        self.output = all_rows.numbers
        self.input_gradient = np.empty_like(source)
        self.own = share(site.memory, d_in, d_out)
        one = site.way.strategy == "one-bit" and site.place.ranks > 1
        self.sum = OneBitSum(site, self.own) if one else Sum(site, self.own)
        self.gradient = self.sum.total.numbers
        self.bare = [self.sum.bare]
        # Steps hold addresses, which nothing else keeps alive.
        self._all_rows = all_rows
        self._gather: list[Phase] = []
        if gathers:
            numbers = [bound * d_out for bound in bounds]
            self._gather.append(_gather_steps(site.place, all_rows.buffer.address, numbers))
            self.bare.append(lambda place: _gather_steps(place, 0, numbers))

    @property
    def forward(self) -> list[Phase]:
        """From this rank's rows of the input to its rows of the output, or to all of them."""
        return [self._forward, *self._gather]

    @property
    def backward(self) -> list[Phase]:
        """Two products."""
        return [self._backward]

    @property
    def exchange(self) -> list[Phase]:
        """The sum of the weights' gradients."""
        return self.sum.phases

    def rows_of(self, output: Whole) -> Whole:
        """Return what this rank has of the output."""
        return output if self._gathers else output[self.mine]

    def rows_below(self, slope: Whole) -> Whole:
        """Return this rank's rows."""
        return slope[self.mine]

    def expected_gradient(self, source: Whole, slope: Whole) -> Whole:
        """Return the sum of all ranks, or of what one bit each stands for."""
        if not isinstance(self.sum, OneBitSum):
            return source.T @ slope
        total: Whole = np.zeros(self.weights.size)
        message = np.empty(one_bit.wire_bytes(total.size), np.uint8)
        for first, last in pairwise(self._bounds):
            own = (source[first:last].T @ slope[first:last]).reshape(-1).astype(np.float32)
            one_bit.Feedback(total.size).encode(own, message)
            total += one_bit.decode(message, total.size)
        return total.reshape(self.weights.shape)

    def forget(self) -> None:
        """Keep nothing of earlier steps."""
        if isinstance(self.sum, OneBitSum):
            self.sum.feedback.kept[:] = 0

    def lost(self) -> int:
        """Return the numbers that neither were sent nor are kept."""
        return self.sum.feedback.lost if isinstance(self.sum, OneBitSum) else 0

    def _forward(self) -> None:
        np.matmul(self.source, self.weights, out=self._product)

    def _backward(self) -> None:
        np.matmul(self.source.T, self.output_gradient, out=self.own.numbers)
        np.matmul(self.output_gradient, self.weights.T, out=self.input_gradient)


class RowLayer(SplitLayer):
    """Some rows of the weights on every rank, and the whole batch."""

    def __init__(self, site: Surroundings, source: Matrix, d_out: int) -> None:
        rows, d_in = source.shape
        bounds = cut_evenly(d_in, site.place.ranks)
        self.mine = slice(bounds[site.place.rank], bounds[site.place.rank + 1])
        self.source = source
        self.weights = np.empty((self.mine.stop - self.mine.start, d_out), np.float32)
        self.gradient = np.empty_like(self.weights)
        self._partial = share(site.memory, rows, d_out)
        self._total, self._stack = Sum(site, self._partial), Stack(site, rows, d_in)
        total, stack = self._total, self._stack
        self.output, self.input_gradient = total.total.numbers, stack.whole
        self._block = stack.block
        self.bare = [total.bare, stack.bare]

    @property
    def forward(self) -> list[Phase]:
        """A product, and the sum of all ranks' products."""
        return [self._forward, *self._total.phases]

    @property
    def backward(self) -> list[Phase]:
        """Two products, and the input's gradient put together."""
        return [self._backward, *self._stack.phases]

    def part_of(self, weights: Whole) -> Whole:
        """Return this rank's rows."""
        return weights[self.mine]

    def _forward(self) -> None:
        np.matmul(self.source[:, self.mine], self.weights, out=self._partial.numbers)

    def _backward(self) -> None:
        np.matmul(self.source[:, self.mine].T, self.output_gradient, out=self.gradient)
        np.matmul(self.output_gradient, self.weights.T, out=self._block)


class ColumnLayer(SplitLayer):
    """Some columns of the weights on every rank, and the whole batch."""

    def __init__(self, site: Surroundings, source: Matrix, d_out: int) -> None:
        rows, d_in = source.shape
        bounds = cut_evenly(d_out, site.place.ranks)
        self.mine = slice(bounds[site.place.rank], bounds[site.place.rank + 1])
        self.source = source
        self.weights = np.empty((d_in, self.mine.stop - self.mine.start), np.float32)
        self.gradient = np.empty_like(self.weights)
        self._partial = share(site.memory, rows, d_in)
        self._total, self._stack = Sum(site, self._partial), Stack(site, rows, d_out)
        total, stack = self._total, self._stack
        self.output, self.input_gradient = stack.whole, total.total.numbers
        self._block = stack.block
        self.bare = [stack.bare, total.bare]

    @property
    def forward(self) -> list[Phase]:
        """A product, and the output put together."""
        return [self._forward, *self._stack.phases]

    @property
    def backward(self) -> list[Phase]:
        """Two products, and the sum of all ranks' gradients of the input."""
        return [self._backward, *self._total.phases]

    def part_of(self, weights: Whole) -> Whole:
        """Return this rank's columns."""
        return weights[:, self.mine]

    def _forward(self) -> None:
        np.matmul(self.source, self.weights, out=self._block)

    def _backward(self) -> None:
        slope = self.output_gradient[:, self.mine]
        np.matmul(self.source.T, slope, out=self.gradient)
        np.matmul(slope, self.weights.T, out=self._partial.numbers)
