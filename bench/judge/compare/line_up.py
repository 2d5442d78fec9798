"""The launches of both sides of every case that both have measured."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.judge.cells import text, whole
from bench.judge.compare.comparable import find_refused, find_wrong
from bench.judge.compare.missing import Unmatched, find_unmatched, tell_lost
from bench.judge.compare.ranks import LAUNCH, load_spreads
from bench.judge.compare.records import Aspect, CaseSides, Launches
from bench.judge.compare.sides import BLOCK, PAIR, Side
from bench.judge.runs import PLACEMENT
from bench.judge.table import measured, times_of

LEAST_FOR_TAIL = 30
"""Samples of every launch; the 99th percentile of fewer is the worst of a few."""

_WHERE = ["case", *PLACEMENT]
_SAME = [*_WHERE, "part"]
"""Columns in which lines of the same case are equal on both sides; a side is no arm of itself."""


class Compared(NamedTuple):
    """One aspect of one case, and what people call it."""

    sides: CaseSides
    name: str
    benchmark: str
    nodes: int | None
    ranks_per_node: int | None
    a: float
    """The middle launch of A, of what is compared: seconds for a level, else a ratio."""
    b: float


class LinedUp(NamedTuple):
    """Two sides beside each other."""

    compared: tuple[Compared, ...]
    refused: tuple[Unmatched, ...]
    """Cases that are not compared, with the reason."""
    lost: tuple[str, ...]
    """What to know of launches without a time, in words."""


def line_up(a: Side, b: Side, a_lines: pd.DataFrame, b_lines: pd.DataFrame) -> LinedUp:
    """Return the launches of both sides case by case, and what cannot be compared.

    Args:
        a: the baseline.
        b: what is held against it.
        a_lines: of A, as `load_side` gives them.
        b_lines: of B.

    Raises:
        RequestError: where the samples of a run are damaged.
    """
    labels = (a.label, b.label)
    both = pd.concat([a_lines.assign(side=0), b_lines.assign(side=1)], ignore_index=True)
    lines = measured(both).copy()
    lines["t_s"] = times_of(lines)
    lines = lines[lines["t_s"] > 0]
    lines["key"] = lines.groupby(_SAME, dropna=False, sort=False).ngroup()
    sides = lines.groupby("key")["side"].nunique()
    shared = lines[lines["key"].isin(sides.index[sides == len(labels)])]
    reasons = find_refused(shared, labels)
    wrong = {**find_wrong(b_lines, b.label), **find_wrong(a_lines, a.label)}
    first = shared.drop_duplicates("key")
    of_case = dict(zip(first["key"].tolist(), first["case"].tolist(), strict=True))
    reasons |= {key: wrong[case] for key, case in of_case.items() if case in wrong}
    kept = shared[~shared["key"].isin(reasons)]
    spreads = pd.concat([_spread(a, 0, kept), _spread(b, 1, kept)], ignore_index=True)
    refused = tuple(
        Unmatched(str(line["case"]), str(line["name"]), text(line["part"]), reasons[key], True)
        for line in first.to_dict("records")
        if (key := line["key"]) in reasons
    )
    return LinedUp(
        compared=(*_levels(kept), *_tails(kept), *_ranks(kept, spreads)),
        refused=(*refused, *find_unmatched(both, lines, labels)),
        lost=tell_lost(both, kept, labels),
    )


def _levels(lines: pd.DataFrame) -> Iterator[Compared]:
    yield from _compare(lines.assign(log=np.log(lines["t_s"])), Aspect.LEVEL)


def _tails(lines: pd.DataFrame) -> Iterator[Compared]:
    """Yield the tails of cases whose launches all have one."""
    has_one = (lines["samples"] >= LEAST_FOR_TAIL) & (lines["t_p99_s"] >= lines["t_median_s"])
    lines = lines[has_one.groupby(lines["key"]).transform("all")]
    tails = lines.assign(log=np.log(lines["t_p99_s"] / lines["t_median_s"]))
    yield from _compare(tails, Aspect.TAIL)


def _spread(side: Side, number: int, lines: pd.DataFrame) -> pd.DataFrame:
    own = lines[(lines["side"] == number) & (lines["rank_agg"] == "max")]
    return load_spreads(side, own["case"].drop_duplicates()).assign(side=number)


def _ranks(lines: pd.DataFrame, spreads: pd.DataFrame) -> Iterator[Compared]:
    """Yield how far ranks are apart, of all nodes and GPUs of a case together."""
    launches = lines.drop_duplicates([*_WHERE, "side", "run", "launch"]).assign(part=None)
    launches["key"] = launches.groupby(_WHERE, dropna=False, sort=False).ngroup()
    found = launches.merge(spreads.rename(columns={"spread": "log"}), on=["side", *LAUNCH])
    sides = found.groupby("key")["side"].nunique()
    yield from _compare(found[found["key"].isin(sides.index[sides > 1])], Aspect.RANKS)


def _compare(lines: pd.DataFrame, aspect: Aspect) -> Iterator[Compared]:
    """Yield the sides of each case, from lines with the logarithm of what is compared as `log`."""
    if lines.empty:
        return
    lines = lines.sort_values("key", kind="stable")
    begun = pd.to_datetime(lines["started_utc"], format="%Y-%m-%dT%H:%M:%S.%fZ", errors="coerce")
    begun_s = ((begun - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    log = lines["log"].to_numpy(np.float64)
    side = lines["side"].to_numpy()
    shared = _shared(lines)
    pair = lines[PAIR].to_numpy(np.float64)
    columns = ["case", "part", "name", "benchmark", "setting", *PLACEMENT]
    starts = np.flatnonzero(np.diff(lines["key"].to_numpy(), prepend=-1))
    ends = [*starts[1:].tolist(), len(lines)]
    heads = lines.iloc[starts][columns].to_dict("records")
    for head, start, end in zip(heads, starts.tolist(), ends, strict=True):
        own = slice(start, end)
        in_a = side[own] == 0
        block = _blocks(shared[own], in_a)
        crossed = None if np.isnan(pair[own]).any() else pair[own].astype(np.int64)
        a, b = (
            Launches(
                log[own][at],
                block[at],
                begun_s[own][at],
                None if crossed is None else crossed[at],
            )
            for at in (in_a, ~in_a)
        )
        yield Compared(
            sides=CaseSides(
                case=str(head["case"]),
                part=text(head["part"]),
                aspect=aspect,
                kind=f"{head['benchmark']} {text(head['setting']) or ''}".rstrip(),
                a=a,
                b=b,
            ),
            name=str(head["name"]),
            benchmark=str(head["benchmark"]),
            nodes=whole(head["nodes"]),
            ranks_per_node=whole(head["ranks_per_node"]),
            a=float(np.exp(np.median(a.log_s))),
            b=float(np.exp(np.median(b.log_s))),
        )


def _shared(lines: pd.DataFrame) -> NDArray[np.int64]:
    """Return a number for what each line may share with one of the other side.

    Of interleaved launches it is what their schedule says, and nothing where a launch was measured
    again later; else it is the pair of hosts.
    """
    block = lines[BLOCK].to_numpy(np.float64)
    if not np.isnan(block).all():
        alone = np.nanmax(block) + 1 + np.arange(len(block))
        return np.where(np.isnan(block), alone, block).astype(np.int64)
    hosts = lines.groupby(["src_host", "dst_host"], dropna=False, sort=False)
    return np.asarray(hosts.ngroup(), dtype=np.int64)


def _blocks(shared: NDArray[np.int64], in_a: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the blocks of a case's launches, from 0; all 0 where the sides share none."""
    if np.ptp(shared) == 0 or not np.intersect1d(shared[in_a], shared[~in_a]).size:
        return np.zeros(len(shared), np.int64)
    return np.searchsorted(np.unique(shared), shared).astype(np.int64)
