"""A training step of dense layers, split among ranks by data or by model, or its messages alone."""

import time

import msgspec
import numpy as np

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Measurement,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import MEMORY, THREADS, whole, word
from bench.measure.exchange.gradient import POSTING, RANKS, STRATEGY, lacks_memory, refuse_posting
from bench.measure.exchange.parts import DTYPE, ITEM, RankOnNode
from bench.measure.exchange.phases import Phase, Phases
from bench.measure.exchange.traffic import LinkTraffic, count_traffic
from bench.measure.training.network import (
    OVERLAPS,
    SPLITS,
    DenseNetwork,
    split_layers,
    weights_of,
    widths_of,
)
from bench.measure.training.numbers import MOST_BATCH, compute_truth, normal_values, whole_values
from bench.measure.training.optimiser import OPTIMISERS
from bench.measure.training.splits import StepsOf, Summing, Surroundings

_ALONE_STEPS = 5
_WIDEST = 2**20


def _width(name: str, default: int, advice: str) -> AxisSpec:
    return AxisSpec(
        name=name, kind=int, default=(default,), least=1, most=_WIDEST, in_id=True, advice=advice
    )


def _word(name: str, choices: tuple[str, ...], default: tuple[str, ...], advice: str) -> AxisSpec:
    return AxisSpec(name=name, kind=str, default=default, choices=choices, advice=advice)


class TrainingStep:
    """Forward, backward, exchange and update; every rank starts together, the slowest counts."""

    name = "training_step"
    title = "a training step of dense layers, split by data, rows or columns, or hybrid"
    axes = (
        msgspec.structs.replace(
            _width("batch", 128, "examples of all ranks together"), most=MOST_BATCH
        ),
        _width("d_in", 1000, "width of the input"),
        _width("d_out", 500, "width of every layer's output"),
        AxisSpec(name="layers", kind=int, default=(1,), least=1, most=100, advice="dense layers"),
        msgspec.structs.replace(
            _word("split", SPLITS, SPLITS[:3], "how ranks share the work"), in_id=True
        ),
        msgspec.structs.replace(STRATEGY, default=("ring",), in_id=False),
        POSTING,
        _word("overlap", OVERLAPS, ("none",), "what goes on while gradients are exchanged"),
        _word("optimiser", OPTIMISERS, ("sgd",), "how weights are updated"),
        _word("part", ("step", "exchange"), ("step",), "the whole step, or its messages alone"),
        THREADS,
        MEMORY,
        RANKS,
    )
    rank_agg = "max"
    tolerance = 0.02
    size_axis = "batch"
    pairwise = False
    profile = Profile(family="exchange and steps", bound="training step", composition="step")

    def work(self, case: Case) -> Work:
        """Three products a layer: 2 m n k FLOP each, over all ranks together."""
        if word(case, "part") == "exchange":
            return Work()
        return Work(flop=6 * whole(case, "batch") * weights_of(_widths(case)))

    def columns(self, case: Case) -> dict[str, Axis]:
        """The strategy is the algorithm; the first layer's product has the shape m, k, n."""
        return {
            "algorithm": word(case, "strategy"),
            "dtype": DTYPE,
            "m": whole(case, "batch"),
            "k": whole(case, "d_in"),
            "n": whole(case, "d_out"),
        }

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if context.message_loops is None:
            return "needs MPI: it exchanges gradients between ranks"
        missing = lacks_memory(case, context)
        if missing is not None:
            return missing
        return _contradiction(case)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate this rank's layers; the first rank also times a step alone."""
        return _Step(case, context)


def _contradiction(case: Case) -> str | None:
    """Return why the axes do not go together, or None."""
    split, strategy = word(case, "split"), word(case, "strategy")
    splits = split_layers(split, whole(case, "layers"))
    ranks = whole(case, "ranks")
    short = [axis for axis in ("batch", "d_in", "d_out") if whole(case, axis) < ranks]
    if short:
        return f"needs {short[0]} of {ranks} at least: each rank takes a share of it"
    if split == "hybrid" and len(splits) < 2:
        return "needs two layers: the first data parallel, the last split by rows"
    if strategy == "one-bit" and "data" not in splits:
        return "needs split data or hybrid: one bit is for gradients, not for activations"
    if (misposted := refuse_posting(case)) is not None:
        return misposted
    if word(case, "overlap") != "none" and splits.count("data") < 2:
        return "needs two data-parallel layers: one has nothing to do beside its exchange"
    if word(case, "overlap") != "none" and strategy == "library":
        return "needs another strategy: MPI_Allreduce returns only when it is done"
    return None


class _Step:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        self._loops, world = context.need_message_loops(), context.communicator
        self._case, self._optimiser = case, word(case, "optimiser")
        self._batch, self._widths = whole(case, "batch"), _widths(case)
        place = RankOnNode(world.rank, world.nodes)
        way = Summing(word(case, "strategy"), word(case, "posting"))
        memory = context.memories[word(case, "memory")]
        self.params: dict[str, Axis] = {"blas": context.blas, "threads": context.threads}
        try:
            self._network = self._make(Surroundings(place, memory, way))
            if world.rank == 0 and word(case, "part") == "step":
                self.params["one_rank_s"] = self._time_alone(
                    Surroundings(RankOnNode(0, (0,)), memory, way)
                )
        finally:
            # Ranks that wait in MPI would take cores from the one that computes.
            world.sleep_until_all_arrive()
        if way.strategy != "library":
            self.params |= _traffic(place.nodes, self._network.bare()).params()
        self._network.load(normal_values(1, self._batch, self._widths))
        every = self._network.phases(word(case, "overlap"))
        messages: list[Phase] = [phase for phase in every if isinstance(phase, Steps)]
        meet = Schedule()
        meet.meet(world.rank, world.size)
        barrier = meet.cut()
        self._whole = Phases(self._loops, every, barrier, self._network.restore)
        self._timed = self._whole
        if word(case, "part") == "exchange":
            self._timed = Phases(self._loops, messages, barrier)
        self.timing_layer = f"numpy+{self._loops.name}"
        self.overhead_s = self._timed.overhead_s

    def run(self, seconds: Seconds, loops: int) -> None:
        self._timed.run(seconds, loops)
        if word(self._case, "part") == "step":
            share = np.median(np.array(self._timed.compute_s) / seconds)
            self.params["compute_percent"] = round(100 * float(share))

    def verify(self, seed: int) -> Checked:
        values = whole_values(seed, self._batch, self._widths)
        self._network.load(values)
        self._network.poison()
        self._whole.run(one_sample(), 1)
        compared, wrong = self._network.count_wrong(values, compute_truth(values), self._optimiser)
        self._network.load(normal_values(1, self._batch, self._widths))
        return Checked(compared * ITEM, wrong * ITEM)

    def _make(self, site: Surroundings) -> DenseNetwork:
        splits = split_layers(word(self._case, "split"), len(self._widths) - 1)
        return DenseNetwork(site, splits, self._widths, self._batch, self._optimiser)

    def _time_alone(self, site: Surroundings) -> float:
        """Return the median seconds of the whole step on one rank, while the others sleep."""
        network = self._make(site)
        network.load(normal_values(1, self._batch, self._widths))
        work = [phase for phase in network.phases("none") if not isinstance(phase, Steps)]
        times = []
        for _ in range(_ALONE_STEPS):
            network.restore()
            begin = time.perf_counter()
            for phase in work:
                phase()
            times.append(time.perf_counter() - begin)
        return float(f"{np.median(times):.6g}")


def _traffic(nodes: tuple[int, ...], sends: list[StepsOf]) -> LinkTraffic:
    """Count all that is sent in a step."""

    def steps_of(place: RankOnNode) -> Steps:
        return Steps(np.concatenate([steps(place).table for steps in sends]), 1, 0)

    return count_traffic(nodes, steps_of)


def _widths(case: Case) -> list[int]:
    return widths_of(*(whole(case, axis) for axis in ("d_in", "d_out", "layers")))


BENCHMARKS: tuple[Measurement, ...] = (TrainingStep(),)
