"""The curve that each line of a table is a point of, its size along it, and its name."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.records import Axis, Case
from bench.judge.columns import Columns, Values, spread, take, text_column
from bench.judge.names import PAIR, Ends, Naming
from bench.measure.profiles import place_of, size_axis_of

SIZE_AXES = ("bytes", "batch")
"""The axes that curves are drawn along where the benchmark is not known."""

Codes = NDArray[np.int64]


class _Curves(NamedTuple):
    """Of each case, what places it in a curve."""

    series: Codes
    """Its place in `names`."""
    names: Values
    sizes: dict[str, Values]
    """By axis, what its axis holds where curves of its benchmark run along that; else NaN."""
    along: dict[str, NDArray[np.bool_]]
    """By axis, whether curves of its benchmark run along that."""


def place_lines(cases: Sequence[Case], of: Codes, columns: Columns) -> Columns:
    """Return `series`, `size`, `label`, `setting` and `name` of every line.

    Args:
        cases: each of which some line is of.
        of: for every line the place of its case in these.
        columns: of the lines, as rows have them.
    """
    naming = Naming()
    curves = _find_curves(cases, naming)
    size = _sizes(curves, of, columns)
    labels, settings, names = _name_lines(cases, of, size, columns, naming)
    series = take(curves.names, curves.series[of])
    return {"series": series, "size": size, "label": labels, "setting": settings, "name": names}


def order_lines(columns: Columns) -> Codes:
    """Return the places of the lines in the order of a reader, which the plan has shuffled.

    By benchmark as they are listed, series, size (none first) and launch; else as they stand.
    """
    benchmarks, found = pd.factorize(columns["benchmark"])
    rank = {name: at for at, name in enumerate(sorted(found, key=lambda one: (place_of(one), one)))}
    series, texts = pd.factorize(columns["series"], sort=True)
    del texts
    sizes = np.nan_to_num(columns["size"], nan=-1)
    by_benchmark = np.array([rank[name] for name in found], dtype=np.int64)[benchmarks]
    return np.lexsort((columns["launch"], sizes, series, by_benchmark))


def _size_axes(benchmark: str) -> tuple[str, ...]:
    known = size_axis_of(benchmark)
    return SIZE_AXES if known is None else (known,)


def _others(case: Case, sizes: Iterable[str]) -> dict[str, Axis]:
    """Return the axes of a case but those of its size, sorted by name."""
    hidden = (*SIZE_AXES, *sizes)
    return {name: value for name, value in sorted(case.axes.items()) if name not in hidden}


def _find_curves(cases: Sequence[Case], naming: Naming) -> _Curves:
    """Return the curves of the cases, and let the naming know what varies between them."""
    axes = {case.benchmark: _size_axes(case.benchmark) for case in cases}
    along = {name: np.zeros(len(cases), np.bool_) for names in axes.values() for name in names}
    sizes = {name: np.full(len(cases), math.nan) for name in along}
    codes: dict[str, int] = {}
    series = np.empty(len(cases), np.int64)
    for place, case in enumerate(cases):
        names = axes[case.benchmark]
        others = _others(case, names)
        naming.add(case.benchmark, others.items())
        text = ";".join([case.benchmark, *(f"{name}={value}" for name, value in others.items())])
        series[place] = codes.setdefault(text, len(codes))
        for name in names:
            along[name][place] = True
            value = case.axes.get(name)
            if isinstance(value, int):
                sizes[name][place] = value
    return _Curves(series, text_column(codes), sizes, along)


def _sizes(curves: _Curves, of: Codes, columns: Columns) -> Values:
    """Return what the suite asked for, which a case has whether it was measured or not."""
    sizes = np.full(len(of), math.nan)
    for name, along in curves.along.items():
        measured = columns.get(name, spread(math.nan, len(of)))
        for values in (curves.sizes[name][of], np.where(along[of], measured, math.nan)):
            sizes = np.where(np.isnan(sizes), values, sizes)
    return sizes


def _name_lines(
    cases: Sequence[Case], of: Codes, sizes: Values, columns: Columns, naming: Naming
) -> Iterator[Values]:
    """Return label, setting and name of every line, worked out once for those that share them."""
    has_ends = np.array([case.axes.keys() >= {*PAIR} for case in cases], np.bool_)[of]
    is_lone = columns["ranks_per_node"] == 1
    kinds = of
    for values in (
        sizes,
        np.where(has_ends, pd.factorize(columns["src"])[0], -1),
        np.where(has_ends, pd.factorize(columns["dst"])[0], -1),
        has_ends & is_lone,
    ):
        codes, found = pd.factorize(values, use_na_sentinel=False)
        # Each is smaller than the number of lines, so no product of two overflows.
        kinds = pd.factorize(kinds * max(1, len(found)) + codes)[0]
    count = int(kinds.max(initial=-1)) + 1
    first = np.empty(count, np.int64)
    first[kinds[::-1]] = np.arange(len(kinds))[::-1]
    words = np.empty((3, count), dtype=object)
    for kind, line in enumerate(first.tolist()):
        case, size = cases[of[line]], sizes[line]
        ends = None
        if has_ends[line]:
            ends = Ends(columns["src"][line], columns["dst"][line], bool(is_lone[line]))
        others = _others(case, _size_axes(case.benchmark))
        label, setting = naming.describe(case.benchmark, others, ends)
        name = naming.name(case.benchmark, label, None if math.isnan(size) else int(size))
        words[:, kind] = label, setting, name
    return (column[kinds] for column in words)
