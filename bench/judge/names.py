"""What people call a case: by all that distinguishes it from the others of its benchmark."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import printable
from bench.core.hostnames import host_of
from bench.core.records import Axis
from bench.core.units import format_bytes
from bench.judge.columns import Values, pick_texts, text_column
from bench.measure import MEASUREMENTS
from bench.measure.profiles import size_axis_of

PAIR = ("src_rank", "dst_rank")
"""Axes that name a pair; people know it by its hosts."""
_PRODUCT = {"k", "n"}
"""Axes of a benchmark whose cases are named m x k x n."""
_ALWAYS_NAMED = ("kernel", "dtype")
"""Axes that belong to a case's name even where they do not vary."""
_MEMORY = ("memory", "dst_memory")
"""Axes that belong there where they are not the host's own."""
_PLAIN_VALUES = ("mode", "path", "strategy", "split", "posting", "pattern")
"""Axes whose values need no name beside them."""
_GPUS = ("src_gpu", "dst_gpu")
"""Axes that name GPUs of one process; where one is missing it is all others."""
_UNNAMED = {"k", "n", *_ALWAYS_NAMED, *PAIR, *_MEMORY, *_GPUS}
"""Axes that are named otherwise, or not at all, however they vary."""

Codes = NDArray[np.int64]


class Lines(NamedTuple):
    """Lines to be named, a column each."""

    benchmark: Values
    size: Values
    """NaN where there is none."""
    setting: Codes
    """As `Naming.find_settings` gives it."""
    has_ends: NDArray[np.bool_]
    """Whether it is of one pair of ranks."""
    is_lone: NDArray[np.bool_]
    """Whether each host had one rank, so that its name says it all."""
    src: Values
    dst: Values


class Naming:
    """Names cases by the axes that vary within their benchmark."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], set[Axis]] = {}
        self._places: dict[tuple[object, ...], int] = {}
        self._settings: list[str] = []

    def add(self, benchmark: str, axis: str, values: Sequence[Axis]) -> None:
        """Take an axis of cases into account; all before the first setting."""
        self._values.setdefault((benchmark, axis), set()).update(values)

    def find_settings(
        self, benchmark: str, axes: Mapping[str, Sequence[Axis]], count: int
    ) -> list[int]:
        """Return the place of the setting of each case, by its axes but that of its size.

        A setting is the words for all that distinguishes a case but its size and a pair of ranks.
        """
        names = [name for name in axes if name not in PAIR]
        known = {axis for one, axis in self._values if one == benchmark}
        varying = {axis for axis in known if len(self._values[benchmark, axis]) > 1}
        found = []
        for values in zip(*(axes[name] for name in names), strict=True) if names else [()] * count:
            key = (benchmark, *names, *values)
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = len(self._settings)
                own = dict(zip(names, values, strict=True))
                self._settings.append(" ".join(_make_setting(own, varying)))
            found.append(place)
        return found

    def name_lines(
        self, lines: Lines, ranks: Sequence[Mapping[str, Axis]]
    ) -> tuple[Values, Values, Values]:
        """Return what distinguishes the curve of each line, the same without a pair, and its name.

        Args:
            lines: to be named.
            ranks: axes of those lines that are of a pair.
        """
        settings = text_column(self._settings)[lines.setting]
        labels = settings.copy()
        pairs = _pair_names(lines, ranks)
        labels[lines.has_ends] = [
            f"{pair} {setting}" if setting else pair
            for pair, setting in zip(pairs, settings[lines.has_ends], strict=True)
        ]
        labels, settings = _shown(labels, 80), _shown(settings, 400)
        return labels, settings, _names(lines, labels)


def _shown(texts: Values, limit: int) -> Values:
    """Return texts safe to print, None where they are empty; few of many are unsafe or long."""
    return text_column(
        (text if len(text) <= limit and text.isprintable() else printable(text, limit)) or None
        for text in texts
    )


def _pair_names(lines: Lines, ranks: Sequence[Mapping[str, Axis]]) -> list[str]:
    """Return the two ends of pairs: hosts where each has one rank, else ranks as well."""
    is_lone = lines.is_lone[lines.has_ends]
    ends = []
    for column in (lines.src, lines.dst):
        codes, places = pd.factorize(column[lines.has_ends])
        whole, hosts = pick_texts(places, codes), pick_texts(map(host_of, places), codes)
        ends.append(np.where(is_lone, hosts, whole))
    return [
        f"{src} to {dst}" if src and dst else " to ".join(f"rank {axes[axis]}" for axis in PAIR)
        for src, dst, axes in zip(*ends, ranks, strict=True)
    ]


def _names(lines: Lines, labels: Values) -> Values:
    """Return what people call the case of each line."""
    names = np.full(len(labels), None, dtype=object)
    sizes = [None if math.isnan(size) else int(size) for size in lines.size.tolist()]
    codes, benchmarks = pd.factorize(lines.benchmark)
    for code, benchmark in enumerate(benchmarks):
        of = np.flatnonzero(codes == code)
        axis, shown = size_axis_of(benchmark), printable(benchmark)
        own = [sizes[line] for line in of]
        if _is_product(benchmark):
            pairs = zip(own, labels[of], strict=True)
            names[of] = [f"{shown} {'?' if m is None else m} x {to or '?'}" for m, to in pairs]
        else:
            words = {size: _size_text(axis, size) for size in set(own)}
            triples = ((shown, to, words[size]) for to, size in zip(labels[of], own, strict=True))
            names[of] = [" ".join(filter(None, three)) for three in triples]
    return names


def _is_product(benchmark: str) -> bool:
    """Return whether a case is known by the shape of its product: m x k x n."""
    known = MEASUREMENTS.get(benchmark)
    return known is not None and {axis.name for axis in known.axes} >= _PRODUCT


def _make_setting(axes: Mapping[str, Axis], varying: Collection[str]) -> list[str]:
    gpus = [_gpus_name(axes)] if {*_GPUS} & axes.keys() else []
    shape = [f"{axes['k']} x {axes['n']}"] if axes.keys() >= _PRODUCT else []
    named = [str(axes[axis]) for axis in _ALWAYS_NAMED if axis in axes]
    elsewhere = {axis for axis in _MEMORY if axes.get(axis, "host") != "host"}
    others = sorted({*varying} - _UNNAMED - ({"pattern"} if {*_GPUS} & axes.keys() else set()))
    if elsewhere or {*varying} & {*_MEMORY} & axes.keys():
        named.append(_memory_name(axes))
    named += [
        str(axes[axis]) if axis in _PLAIN_VALUES else f"{axis} {axes[axis]}"
        for axis in others
        if axis in axes
    ]
    return gpus + shape + named


def _memory_name(axes: Mapping[str, Axis]) -> str:
    """Return the kind of memory, or of that of both ends where they differ."""
    ends = [str(axes[axis]) for axis in _MEMORY if axes.get(axis, "same") != "same"]
    return " to ".join(ends)


def _gpus_name(axes: Mapping[str, Axis]) -> str:
    return " to ".join(f"GPU {axes[end]}" if end in axes else "all" for end in _GPUS)


def _size_text(axis: str | None, size: int | None) -> str | None:
    """Return a size in words: bytes where nothing else is known."""
    if axis is None or axis == "bytes":
        return None if size is None else format_bytes(size)
    return f"{size or '?'} ranks" if axis == "ranks" else f"{axis} {size or '?'}"
