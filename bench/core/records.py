"""Frozen records that every room shares, and the schema of `results.csv`.

A measurement yields `Work` and seconds; rates are views of the two (`bench.measure.rates`).
"""

import re
from enum import StrEnum
from typing import Literal

import msgspec

SCHEMA = 2
"""Version of the files of a run; a newer one is refused, an older one is read."""

Axis = int | float | str
"""One value of an axis, in base units."""

MOST_PASSES = 3
"""Of sampling one case."""

LOST = "lost: "
"""Begins the reason of a control run that went down with a host: it is no answer yet."""

PAGE_SETS = "page_sets"
"""In `params`: the sets of buffers that the samples of a case turned through."""
PAGE_SET_SPREAD = "page_set_spread"
"""In `params`: how far the medians of these sets lie apart, over the median of all samples."""
BUDGET_CAP = "budget_cap_ms"
"""Parameter of a row whose sampling a time budget ended sooner than its suite."""

LEFT_OUT = "left out: "
"""Begins the reason of a case that a time budget left no time for."""

CONTROL = "control"
"""Axis of a case that another one is held against; it is no result of its own."""


class Status(StrEnum):
    """How a planned case ended; `skipped` and `failed` carry a reason."""

    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"


class Stage(StrEnum):
    """Calibration cases are measured and fitted; then targets are predicted, and measured."""

    CALIBRATE = "calibrate"
    TARGET = "target"


class Origin(StrEnum):
    """Where the numbers of a run come from; all but `measured` carry a banner."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    IMPORTED = "imported"
    REPLAYED = "replayed"


class Case(msgspec.Struct, frozen=True):
    """One combination of axis values of one benchmark; `axes` is sorted by name."""

    id: str
    benchmark: str
    axes: dict[str, Axis]


class Sampling(msgspec.Struct, frozen=True):
    """How long a case may be sampled, and when it has been sampled enough."""

    cap_s: float = 5.0
    """Sampling ends here, whatever the interval; six samples are taken in any case."""
    warmup_s: float = 0.05
    """Least time spent in untimed operations."""
    warmup_cap_s: float = 2.0
    """Warm-up ends here even where times still drift."""
    most_passes: int = MOST_PASSES
    """A case is sampled again, so often at most, when others took its cores away."""
    most_s: float | None = None
    """A case is not sampled at all where the least of samples would take longer."""


class Allowance(msgspec.Struct, frozen=True):
    """What a time budget leaves for one job; in the order of its cases, what is known of each."""

    budget_s: float
    """Of the whole run, as it was asked for."""
    seconds: float
    """The share of the job, from its first case on: sampling is cut to it."""
    most_s: float
    """What it may take before other jobs have too little: cases are left out for it."""
    levels: tuple[int, ...]
    """Cases with the highest are left out first."""
    operation_s: tuple[float | None, ...]
    """One timed operation of each; None where nothing like it was measured."""
    rest_s: tuple[float, ...]
    """What each takes beside its samples."""


class Job(msgspec.Struct, frozen=True):
    """One launch of ranks, of one world size and thread count, and the cases they run in order."""

    id: str
    stage: Stage
    launch: int
    ranks: int
    threads: int
    """BLAS threads of each rank; 0 means the cores of a node shared out among its ranks."""
    cases: tuple[Case, ...]
    sampling: Sampling = Sampling()
    attempt: int = 0
    first_order: int = 0
    """Place of the first case in the order of its launch."""
    reference_s: float | None = None
    """Best state of the machine that earlier jobs saw, as their probe measured it."""
    env: dict[str, str] = {}
    """What is added to the environment of every rank."""
    died_in: str | None = None
    """A case in which an earlier job ended, where MPI was handed addresses of a GPU."""
    hosts: tuple[str, ...] = ()
    """Names that the nodes were asked for by, in the order of their ranks; empty where the launcher
    chose them."""
    host_ranks: tuple[int, ...] = ()
    """Ranks on each of these hosts, in blocks that follow each other."""
    arm: str | None = None
    """Which side of a comparison within the run it belongs to; None where nothing is compared."""
    allowance: Allowance | None = None
    """None in a run without a time budget, and in a plan."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What one timed operation accomplishes, whatever its speed."""

    bytes: int | None = None
    """What the `bytes` column holds: the message, or all bytes that the operation moves."""
    bytes_per_rank: int | None = None
    bytes_total: int | None = None
    rate_bytes: int | None = None
    """Bytes that a rate divides by the time; both directions together where both are used."""
    bus_bytes: float | None = None
    """Bytes on the busiest link, for collectives."""
    flop: int | None = None
    messages: int | None = None
    """Messages that a message rate counts."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `results.csv`: one case in one launch. Missing is None, written as empty.

    Job, attempt and order are those of a plan: what another tool measured has none.
    """

    schema: int = SCHEMA
    run: str
    origin: Origin
    job: str | None = None
    attempt: int | None = None
    launch: int
    arm: str | None = None
    order: int | None = None
    case: str
    benchmark: str
    status: Status
    reason: str | None = None
    nodes: int | None = None
    ranks: int | None = None
    ranks_per_node: int | None = None
    src: str | None = None
    dst: str | None = None
    src_host: str | None = None
    dst_host: str | None = None
    binding: str | None = None
    bytes: int | None = None
    bytes_per_rank: int | None = None
    bytes_total: int | None = None
    batch: int | None = None
    m: int | None = None
    n: int | None = None
    k: int | None = None
    dtype: str | None = None
    src_memory: str | None = None
    dst_memory: str | None = None
    path: str | None = None
    direction: str | None = None
    algorithm: str | None = None
    window: int | None = None
    pairs: int | None = None
    params: str | None = None
    statistic: str | None = None
    t_median_s: float | None = None
    t_ci_low_s: float | None = None
    t_ci_high_s: float | None = None
    t_min_s: float | None = None
    t_p95_s: float | None = None
    t_p99_s: float | None = None
    t_max_s: float | None = None
    t_mean_s: float | None = None
    samples: int | None = None
    loops: int | None = None
    warmups: int | None = None
    outliers: int | None = None
    converged: int | None = None
    rank_agg: str | None = None
    slowest_rank: int | None = None
    gbytes_per_s: float | None = None
    busbw_gbytes_per_s: float | None = None
    tflops: float | None = None
    messages_per_s: float | None = None
    bytes_checked: int | None = None
    bytes_wrong: int | None = None
    bound_s: float | None = None
    bound_source: str | None = None
    fraction_of_bound: float | None = None
    timing_layer: str | None = None
    thread_level: str | None = None
    started_utc: str | None = None

    @property
    def t_s(self) -> float | None:
        """The time that `statistic` names, else the median: rates derive from it."""
        times = {"median": self.t_median_s, "mean": self.t_mean_s, "min": self.t_min_s}
        return times.get(self.statistic or "median")


COLUMNS: tuple[str, ...] = Row.__struct_fields__
"""Header of `results.csv`, in order."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `predictions.csv`; without `seconds`, `formula` says why no model answers."""

    case: str
    launch: int
    tier: Literal["D", "C"]
    formula: str
    seconds: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    parameters_hash: str | None = None
    calibration_cases: str | None = None
    """Ids of the cases that the parameters were fitted on, separated by spaces."""
    frozen_at: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `samples.csv`: seconds for one operation, as one rank timed it."""

    case: str
    launch: int
    sample: int
    rank: int
    seconds: float


class CounterReading(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `events.csv`: what a part of a host counted around the samples of a case."""

    case: str
    launch: int
    host: str
    part: str
    """Such as `eth0`, `mlx5_0:1` with its port, or `gpu3`."""
    counter: str
    """What is counted, with its unit, such as `sent_bytes`."""
    before: int
    after: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `evidence.csv`: which path a row was seen to take, and how that is known."""

    case: str
    launch: int
    path_observed: Literal["DIRECT", "STAGED", "UNKNOWN"]
    level: Literal["E0", "E1", "E2", "E3", "E4"]
    reason: str
    ratio: float | None = None
    """Time with the direct path forbidden over the time of the row."""


class About(msgspec.Struct, frozen=True):
    """What is spoken of, as far as it is known; empty where it is the run as a whole."""

    cases: tuple[str, ...] = ()
    """Ids of cases."""
    hosts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """Parts of hosts, such as `node1:gpu2` and `node1:nic0`, and of switches."""


Value = int | float | str
"""A number in the unit that is named beside it, or what something is set to."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something worth a person's attention, with the next step; kept with the run."""

    name: str
    """A word that stays the same between versions, such as `busy-cores`."""
    level: Literal["note", "warning", "stop"]
    """`stop` means that `run quick` would fail."""
    text: str
    advice: str | None = None
    about: About = About()
    value: Value | None = None
    """What was found; of several the one that is furthest off."""
    limit: Value | None = None
    """What `value` was held against: what it may be at most or at least, or what others have."""
    unit: str | None = None
    """Of both, such as `s`, `B/s` or `rows`; `ratio` where they are shares."""


_MEANINGS = {"%3B": ";", "%25": "%"}
_ESCAPED = re.compile("|".join(_MEANINGS))
_LIKE_ESCAPED = re.compile("%(?=3B|25)")


def params_text(params: dict[str, Axis]) -> str | None:
    """Return the `params` column: sorted `axis=value` pairs separated by semicolons.

    A semicolon in a value is escaped as in URLs, and a percent sign where it would look like an
    escape; the first equals sign ends the name.
    """
    return ";".join(f"{name}={_escape(str(v))}" for name, v in sorted(params.items())) or None


def parse_params(text: str | None) -> dict[str, str]:
    """Return the pairs of a `params` column; what is no pair there is none here."""
    text = text or ""
    pairs = dict([pair.split("=", 1) for pair in text.split(";") if "=" in pair])
    return {name: _unescape(value) for name, value in pairs.items()} if "%" in text else pairs


def _escape(text: str) -> str:
    return _LIKE_ESCAPED.sub("%25", text).replace(";", "%3B")


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _MEANINGS[match[0]], text)
