"""The curve that each line of a table is a point of, its size along it, and its name.

Cases of one benchmark with the same axes are worked on together, axis by axis: a run may have a
million of them.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.records import Axis, Case
from bench.judge.columns import Columns, Values, combine, spread, take, text_column
from bench.judge.names import PAIR, Lines, Naming
from bench.measure.profiles import place_of, size_axis_of

SIZE_AXES = ("bytes", "batch")
"""The axes that curves are drawn along where the benchmark is not known."""

Codes = NDArray[np.int64]


class _Alike(NamedTuple):
    """Cases of one benchmark that have the same axes."""

    benchmark: str
    places: list[int]
    axes: dict[str, list[Axis]]
    """By name in order, what each case has."""

    def others(self, size_axes: Iterable[str]) -> dict[str, list[Axis]]:
        """Return the axes but those of a size."""
        hidden = {*SIZE_AXES, *size_axes}
        return {name: values for name, values in self.axes.items() if name not in hidden}


class _Curves(NamedTuple):
    """Of each case, what places it in a curve."""

    series: Values
    setting: Codes
    """Its place in the settings of the naming."""
    has_ends: NDArray[np.bool_]
    """Whether it is of one pair of ranks."""
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
    groups = _group(cases)
    naming = Naming()
    for group in groups:
        for axis, values in group.others(_size_axes(group.benchmark)).items():
            naming.add(group.benchmark, axis, values)
    curves = _find_curves(groups, len(cases), naming)
    size = _sizes(curves, of, columns)
    words = _name_lines(cases, of, size, curves, columns, naming)
    series = curves.series[of]
    return {"series": series, "size": size} | dict(
        zip(("label", "setting", "name"), words, strict=True)
    )


def order_lines(columns: Columns) -> Codes:
    """Return the places of the lines in the order of a reader, which the plan has shuffled.

    By benchmark as they are listed, series, size (none first) and launch; else as they stand.
    """
    benchmarks, found = pd.factorize(columns["benchmark"])
    rank = {name: at for at, name in enumerate(sorted(found, key=lambda one: (place_of(one), one)))}
    series, _ = pd.factorize(columns["series"], sort=True)
    sizes = np.nan_to_num(columns["size"], nan=-1)
    by_benchmark = np.array([rank[name] for name in found], dtype=np.int64)[benchmarks]
    return np.lexsort((columns["launch"], sizes, series, by_benchmark))


def _size_axes(benchmark: str) -> tuple[str, ...]:
    known = size_axis_of(benchmark)
    return SIZE_AXES if known is None else (known,)


def _group(cases: Sequence[Case]) -> list[_Alike]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, case in enumerate(cases):
        groups.setdefault((case.benchmark, *case.axes), []).append(place)
    return [
        _Alike(
            benchmark,
            places,
            {name: [cases[place].axes[name] for place in places] for name in sorted(names)},
        )
        for (benchmark, *names), places in groups.items()
    ]


def _find_curves(groups: Sequence[_Alike], count: int, naming: Naming) -> _Curves:
    """Return the curves of the cases; the naming knows what varies between them."""
    axes = {group.benchmark: _size_axes(group.benchmark) for group in groups}
    sizes = {name: np.full(count, math.nan) for names in axes.values() for name in names}
    along = {name: np.zeros(count, np.bool_) for name in sizes}
    series = np.full(count, None, dtype=object)
    setting = np.zeros(count, np.int64)
    has_ends = np.zeros(count, np.bool_)
    for group in groups:
        places = np.array(group.places)
        others = group.others(axes[group.benchmark])
        series[places] = text_column(_series(group, others))
        setting[places] = naming.find_settings(group.benchmark, others, len(places))
        has_ends[places] = others.keys() >= {*PAIR}
        for name in axes[group.benchmark]:
            along[name][places] = True
            known = group.axes.get(name, [])
            whole = [size if isinstance(size, int) else math.nan for size in known]
            sizes[name][places] = whole or math.nan
    return _Curves(series, setting, has_ends, sizes, along)


def _series(group: _Alike, others: dict[str, list[Axis]]) -> Iterator[str]:
    """Yield the series of each case, one text for all cases of a curve."""
    shared: dict[str, str] = {}
    words = [[group.benchmark] * len(group.places)]
    for name, values in others.items():
        word_of = {value: f"{name}={value}" for value in set(values)}
        words.append([word_of[value] for value in values])
    for parts in zip(*words, strict=True):
        text = ";".join(parts)
        yield shared.setdefault(text, text)


def _sizes(curves: _Curves, of: Codes, columns: Columns) -> Values:
    """Return what the suite asked for, which a case has whether it was measured or not."""
    sizes = np.full(len(of), math.nan)
    for name, along in curves.along.items():
        measured = columns.get(name, spread(math.nan, len(of)))
        for values in (curves.sizes[name][of], np.where(along[of], measured, math.nan)):
            sizes = np.where(np.isnan(sizes), values, sizes)
    return sizes


def _name_lines(
    cases: Sequence[Case],
    of: Codes,
    sizes: Values,
    curves: _Curves,
    columns: Columns,
    naming: Naming,
) -> Iterator[Values]:
    """Return label, setting and name of every line, worked out once for those that share them."""
    has_ends, is_lone = curves.has_ends[of], columns["ranks_per_node"] == 1
    kinds = combine(
        of,
        sizes,
        np.where(has_ends, pd.factorize(columns["src"])[0], -1),
        np.where(has_ends, pd.factorize(columns["dst"])[0], -1),
        has_ends & is_lone,
    )
    first = np.empty(int(kinds.max(initial=-1)) + 1, np.int64)
    first[kinds[::-1]] = np.arange(len(kinds))[::-1]
    case = of[first]
    lines = Lines(
        benchmark=take(columns["benchmark"], first),
        size=sizes[first],
        setting=curves.setting[case],
        has_ends=has_ends[first],
        is_lone=is_lone[first],
        src=take(columns["src"], first),
        dst=take(columns["dst"], first),
    )
    ranks = [cases[place].axes for place in case[lines.has_ends]]
    return (column[kinds] for column in naming.name_lines(lines, ranks))
