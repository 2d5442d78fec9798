"""Suite to plan: axes expanded to cases, cases grouped into jobs, stable ids, seeded order.

A job holds only cases of one world size and thread count, since ranks that merely wait disturb
the pair that is measured (8 B through shared memory: 0.11 us with 2 ranks on 2 cores, 1.5 us
with 4). Calibration jobs come first; the models fitted on them predict the others.
"""

import bisect
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from bench.contracts import AxisSpec
from bench.core.errors import SuiteError
from bench.core.gpu_cases import opens_gpu
from bench.core.records import CONTROL, Axis, Case, Job, Sampling, Stage
from bench.measure import MEASUREMENTS
from bench.measure.axes import settle
from bench.measure.expansion import count_cases, each_case, group_cases
from bench.plan.controls import ARMS, controls, environment
from bench.plan.sizes import Curve, split_size
from bench.plan.suite import Block, Suite

MOST_CASES = 1_000_000
LEAST_CALIBRATION = 2
MOST_CALIBRATION = 24
"""More sizes show three segments nothing new, and fitting them costs the fourth power of these."""
MOST_ROWS_CALIBRATION = 5
"""Of products, whose time is linear in their rows between few batches."""
MOST_WARMUP_S = 2.0


class Plan(msgspec.Struct, frozen=True):
    """Every job that a run starts, in order."""

    suite: Suite
    seed: int
    launches: int
    jobs: tuple[Job, ...]

    def cases(self) -> int:
        """Return the number of planned rows: cases times launches."""
        return sum(len(job.cases) for job in self.jobs)


class _Shape(NamedTuple):
    """What all cases of a job have in common."""

    ranks: int
    threads: int
    proven: bool
    """Whether the path of its messages is to be proven."""
    control: str | None
    gpu: bool
    """Whether its ranks open GPUs: they start and are placed otherwise."""


def make_plan(suite: Suite, launches: int | None = None, seed: int | None = None) -> Plan:
    """Expand a suite; the same suite and seed give the same plan, to the letter.

    Raises:
        SuiteError: where there are more cases than a run can hold.
    """
    launches = suite.launches if launches is None else launches
    seed = suite.seed if seed is None else seed
    _refuse_too_many(suite, launches)
    expanded = [(block, tuple(expand(block))) for block in suite.blocks]
    cases = list({case.id: case for _, each in expanded for case in each}.values())
    calibration = _calibration(expanded, cases)
    proven = {case.id: case for block, each in expanded if block.evidence for case in each}
    cases += controls(proven.values())
    jobs: list[Job] = []
    for stage in Stage:
        chosen = [case for case in cases if (case.id in calibration) == (stage is Stage.CALIBRATE)]
        for launch in range(launches):
            jobs += _launch_jobs(chosen, stage, launch, seed, _sampling(suite), frozenset(proven))
    return Plan(suite, seed, launches, tuple(_number(jobs)))


def set_variables(plan: Plan, variables: Mapping[str, str]) -> Plan:
    """Return the plan with variables in the environment of every rank; a job's own beat them."""
    jobs = (replace(job, env={**variables, **job.env}) for job in plan.jobs)
    return replace(plan, jobs=tuple(jobs)) if variables else plan


def _sampling(suite: Suite) -> Sampling:
    """A suite in a hurry also settles for a shorter warm-up."""
    return Sampling(cap_s=suite.cap_s, warmup_cap_s=min(MOST_WARMUP_S, 2 * suite.cap_s))


def _refuse_too_many(suite: Suite, launches: int) -> None:
    count = launches * sum(_count(block) for block in suite.blocks)
    if count > MOST_CASES:
        raise SuiteError(f"{count} cases; a run holds up to {MOST_CASES}: use fewer axis values")


def _count(block: Block) -> int:
    others = math.prod(len(values) for name, values in block.axes.items() if name != "ranks")
    runs = 1 + len(ARMS) if block.evidence else 1
    gpus = max(int(count) for count in block.axes.get("gpus", (0,)))
    return (
        runs
        * others
        * sum(count_cases(block.benchmark, int(ranks), gpus) for ranks in block.axes["ranks"])
    )


def expand(block: Block) -> Iterator[Case]:
    """Return every case that the combinations of a block's axis values stand for."""
    specs = {axis.name: axis for axis in MEASUREMENTS[block.benchmark].axes}
    names = list(block.axes)
    for values in itertools.product(*block.axes.values()):
        for every in each_case(block.benchmark, dict(zip(names, values, strict=True))):
            axes = settle(every)
            yield Case(_case_id(block.benchmark, axes, specs), block.benchmark, axes)


def _case_id(benchmark: str, axes: dict[str, Axis], specs: dict[str, AxisSpec]) -> str:
    named = [
        f"{name}={value}"
        for name, value in axes.items()
        if name not in specs or specs[name].in_id or specs[name].default != (value,)
    ]
    return "/".join([benchmark, *named])


def _calibration(
    expanded: Iterable[tuple[Block, tuple[Case, ...]]], cases: Sequence[Case]
) -> frozenset[str]:
    """Return what is calibrated on: as blocks set it, and chosen where they leave it open."""
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for block, each in expanded:
        if block.calibrate is not None:
            asked[block.calibrate].update(case.id for case in each)
    _refuse_too_many_sizes(case for case in cases if case.id in asked[True])
    settled = asked[True] | asked[False]
    open_cases = (case for case in cases if case.id not in settled)
    return choose_calibration(open_cases) | asked[True]


def _refuse_too_many_sizes(cases: Iterable[Case]) -> None:
    for (benchmark, *_), members in _by_size(cases).items():
        if len(members) > MOST_CALIBRATION:
            raise SuiteError(
                f"{benchmark} with calibrate = true has {len(members)} sizes; models are fitted on "
                f"up to {MOST_CALIBRATION}: name fewer, or leave calibrate out"
            )


def choose_calibration(cases: Iterable[Case]) -> frozenset[str]:
    """Return the ids of the cases that models are fitted on.

    Of the cases that differ in size alone: at most a third of the sizes and at most 24 (of products
    that are linear in their rows, at most half of the batches and at most five), spread from the
    smallest to the largest. Fewer than two show nothing about a curve, and then there is no
    calibration.
    """
    chosen: set[str] = set()
    for (benchmark, *_), members in _by_size(cases).items():
        wanted = min(MOST_CALIBRATION, len(members) // 3)
        if MEASUREMENTS[str(benchmark)].profile.fit == "rows":
            wanted = min(MOST_ROWS_CALIBRATION, len(members) // 2)
        if wanted >= LEAST_CALIBRATION:
            chosen.update(_spread(sorted(members), wanted))
    return frozenset(chosen)


def _by_size(cases: Iterable[Case]) -> dict[Curve, list[tuple[float, str]]]:
    """Return the places and ids of cases that differ in size alone."""
    groups: dict[tuple[object, ...], list[tuple[float, str]]] = {}
    for case in cases:
        curve, size = split_size(case)
        in_bytes = MEASUREMENTS[case.benchmark].size_axis == "bytes"
        place = _octaves(size) if in_bytes else math.log2(size)
        groups.setdefault(curve, []).append((place, case.id))
    return groups


def _octaves(size: float) -> float:
    """Return the place of a message size on an axis that evenly spread calibration sizes divide.

    MPI libraries pass from eager to rendezvous messages somewhere between 1 and 64 KiB, and caches
    end there too: these octaves count three times.
    """
    octaves = math.log2(size)
    return octaves + 2 * (min(max(octaves, 10), 16) - 10)


def _spread(members: list[tuple[float, str]], wanted: int) -> list[str]:
    """Return `wanted` ids of sorted (place, id) pairs, nearest to even steps."""
    places = [place for place, _ in members]
    chosen: list[int] = []
    for i in range(wanted):
        target = places[0] + (places[-1] - places[0]) * i / (wanted - 1)
        right = bisect.bisect_left(places, target, hi=len(places) - 1)
        before = right and target - places[right - 1] < places[right] - target
        nearest = right - 1 if before else right
        # Each size once, and enough of them left for the steps that follow.
        first, last = chosen[-1] + 1 if chosen else 0, len(members) - wanted + i
        chosen.append(min(max(nearest, first), last))
    return [members[i][1] for i in chosen]


def _launch_jobs(
    cases: list[Case],
    stage: Stage,
    launch: int,
    seed: int,
    sampling: Sampling,
    proven: frozenset[str],
) -> Iterator[Job]:
    """Shuffle the cases of a launch within their jobs, and the jobs among themselves.

    Cases that are measured at once stay together.
    """
    shapes: dict[_Shape, list[Case]] = {}
    for case in cases:
        shapes.setdefault(_shape(case, proven), []).append(case)
    order = random.Random(f"{seed}/{stage}/{launch}")  # noqa: S311 - an order, not a secret
    groups = list(shapes.items())
    order.shuffle(groups)
    for shape, members in groups:
        at_once = group_cases(members)
        order.shuffle(at_once)
        shuffled = tuple(itertools.chain.from_iterable(at_once))
        env = environment(shape.control) if shape.proven else {}
        yield Job("", stage, launch, shape.ranks, shape.threads, shuffled, sampling, env=env)


def _shape(case: Case, proven: frozenset[str]) -> _Shape:
    control = case.axes.get(CONTROL)
    return _Shape(
        int(case.axes["ranks"]),
        int(case.axes.get("threads", 1)),
        control is not None or case.id in proven,
        None if control is None else str(control),
        opens_gpu(case),
    )


def _number(jobs: Iterable[Job]) -> Iterator[Job]:
    placed: dict[int, int] = {}
    for number, job in enumerate(jobs):
        first = placed.get(job.launch, 0)
        placed[job.launch] = first + len(job.cases)
        name = f"{number:03d}-{job.stage}-{job.launch}-{job.ranks}r{job.threads}t"
        control = job.cases[0].axes.get(CONTROL) if job.cases else None
        name += "" if control is None else f"-{control}"
        yield replace(job, id=name, first_order=first)
