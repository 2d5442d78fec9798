"""What people call a case: by all that distinguishes it from the others of its benchmark."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from bench.core.errors import printable
from bench.core.hostnames import host_of
from bench.core.records import Axis
from bench.core.units import format_bytes
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


class Ends(NamedTuple):
    """Where the two ranks of a pair were."""

    src: str | None
    dst: str | None
    is_lone: bool
    """Whether each host had one rank, so that its name says it all."""


class _Kind(NamedTuple):
    """How the cases of a benchmark are named."""

    shown: str
    size_axis: str | None
    is_product: bool
    """Whether a case is known by the shape of its product: m x k x n."""


class Naming:
    """Names cases by the axes that vary within their benchmark."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, set[Axis]]] = {}
        self._settings: dict[tuple[object, ...], str] = {}
        self._kinds: dict[str, _Kind] = {}

    def add(self, benchmark: str, axes: Iterable[tuple[str, Axis]]) -> None:
        """Take a case into account, by its axes but that of its size; all before the first name."""
        seen = self._values.setdefault(benchmark, {})
        for axis, value in axes:
            try:
                seen[axis].add(value)
            except KeyError:
                seen[axis] = {value}

    def describe(
        self, benchmark: str, axes: Mapping[str, Axis], ends: Ends | None
    ) -> tuple[str | None, str | None]:
        """Return what distinguishes the case's curve, and the same without a pair's two ranks."""
        setting = self._setting(benchmark, axes)
        label = setting
        if ends is not None:
            pair = _pair_name(axes, ends)
            label = f"{pair} {setting}" if setting else pair
        return printable(label, 80) or None, printable(setting, 400) or None

    def name(self, benchmark: str, label: str | None, size: int | None) -> str:
        """Return what people call a case."""
        kind = self._kinds.get(benchmark)
        if kind is None:
            kind = self._kinds[benchmark] = _kind_of(benchmark)
        if kind.is_product:
            return f"{kind.shown} {'?' if size is None else size} x {label or '?'}"
        return " ".join(filter(None, [kind.shown, label, _size_text(kind.size_axis, size)]))

    def _setting(self, benchmark: str, axes: Mapping[str, Axis]) -> str:
        """Return the words for all that distinguishes a case but its size and a pair of ranks."""
        key = (benchmark, *((name, value) for name, value in axes.items() if name not in PAIR))
        known = self._settings.get(key)
        if known is None:
            values = self._values[benchmark]
            varying = {axis for axis, found in values.items() if len(found) > 1}
            known = self._settings[key] = " ".join(_make_setting(axes, varying))
        return known


def _kind_of(benchmark: str) -> _Kind:
    known = MEASUREMENTS.get(benchmark)
    axes = set() if known is None else {axis.name for axis in known.axes}
    return _Kind(printable(benchmark), size_axis_of(benchmark), axes >= _PRODUCT)


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


def _pair_name(axes: Mapping[str, Axis], ends: Ends) -> str:
    """Return the two ends: hosts where each has one rank, else ranks as well."""
    src, dst = ends.src, ends.dst
    if not src or not dst:
        src, dst = (f"rank {axes[axis]}" for axis in PAIR)
    elif ends.is_lone:
        src, dst = host_of(src), host_of(dst)
    return f"{src} to {dst}"


def _size_text(axis: str | None, size: int | None) -> str | None:
    """Return a size in words: bytes where nothing else is known."""
    if axis is None or axis == "bytes":
        return None if size is None else format_bytes(size)
    return f"{size or '?'} ranks" if axis == "ranks" else f"{axis} {size or '?'}"
