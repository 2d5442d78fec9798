"""Messages between two ranks that a run was calibrated on, and the fabric that they make."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

from bench.model.composed.fabric import Fabric
from bench.model.composed.path import Path, Point, fit_path
from bench.record import CONTROL, Case, Row, Status

_MESSAGES = frozenset({"latency", "pairs_latency"})
_WINDOWS = frozenset({"bandwidth", "pairs_bandwidth"})


class Kind(NamedTuple):
    """A class of messages between two ranks."""

    across: bool
    """Between nodes; inside one where False."""
    window: int | None = None
    """Messages in flight; None for one after the other."""
    crossing: bool = False
    """Whether as many go the other way at the same time."""

    @property
    def words(self) -> str:
        """What they are."""
        there = "across nodes" if self.across else "inside a node"
        return f"messages {there}" + (", both ways at once" if self.crossing else "")


class Fitted(NamedTuple):
    """Messages of a kind, and the cases that they were measured by."""

    path: Path
    cases: frozenset[str]


class NotComposed(Exception):  # noqa: N818 - an answer, not a fault
    """The case cannot be composed; the text says what is missing."""


def fit_messages(cases: Mapping[str, Case], rows: Iterable[Row]) -> dict[Kind, Fitted]:
    """Return the paths that calibration cases measured, host memory to host memory.

    Args:
        cases: that may be fitted on, by id.
        rows: of them, and others.
    """
    usable = [
        (row, cases[row.case])
        for row in rows
        if row.status is Status.OK and row.t_median_s and row.case in cases
    ]
    times: dict[Kind, dict[float, list[float]]] = {}
    sources: dict[Kind, set[str]] = {}
    together: list[tuple[Point, str]] = []
    for row, case in usable:
        if row.benchmark == "multi_pair" and shares_a_link(case, row.nodes):
            size = float(row.bytes or 0)
            point = Point(int(case.axes["pairs"]), size, row.t_median_s or 0.0)
            together.append((point, case.id))
        elif (kind := _kind(row, case)) is not None:
            at = times.setdefault(kind, {})
            at.setdefault(float(row.bytes or 0), []).append(row.t_median_s or 0.0)
            sources.setdefault(kind, set()).add(case.id)
    most = max(together, key=lambda one: (one[0].senders, one[0].size), default=None)
    found: dict[Kind, Fitted] = {}
    for kind, by_size in times.items():
        sizes = sorted(by_size)
        shared = most if kind.across else None
        seconds = [median(by_size[size]) for size in sizes]
        try:
            path = fit_path(sizes, seconds, shared[0] if shared else None)
        except ValueError:
            continue  # `need` says that it is missing
        also = {shared[1]} if shared else set()
        found[kind] = Fitted(path, frozenset(sources[kind] | also))
    return found


def _kind(row: Row, case: Case) -> Kind | None:
    axes = case.axes
    ends = {axes.get("memory", "host"), axes.get("dst_memory", "host")}
    if ends != {"host"} or axes.get("path", "direct") != "direct" or CONTROL in axes:
        return None
    if row.src is None or row.dst is None:
        return None
    across = row.src.rpartition(":")[0] != row.dst.rpartition(":")[0]
    if row.benchmark in _MESSAGES:
        return Kind(across)
    if row.benchmark in _WINDOWS:
        return Kind(across, row.window)
    if row.benchmark == "bibandwidth":
        return Kind(across, row.window, crossing=True)
    return None


def shares_a_link(case: Case, nodes: int | None) -> bool:
    """Return whether all pairs send from one node to one other."""
    halves = 2 * int(case.axes["pairs"]) <= int(case.axes["ranks"])
    return nodes == 2 and halves and case.axes.get("pattern") in ("bisection", "farthest")


def weave(nodes: tuple[int, ...], messages: Mapping[Kind, Fitted]) -> tuple[Fabric, list[Fitted]]:
    """Return the fabric of ranks on nodes, and what it is made of.

    Raises:
        NotComposed: where messages that it needs were not calibrated on.
    """
    used: list[Fitted] = []

    def path(across: bool, crossing: bool) -> Path | None:
        kinds = [Kind(across)]
        if crossing:
            windows = sorted(
                kind.window or 1 for kind in messages if kind.crossing and kind.across is across
            )
            kinds = [Kind(across, window, crossing=True) for window in windows]
        fitted = next((messages[kind] for kind in kinds if kind in messages), None)
        if fitted is None:
            return None
        used.append(fitted)
        return fitted.path

    several, shared = len(set(nodes)) > 1, len(nodes) > len(set(nodes))
    if several:
        need(messages, Kind(across=True))
    if shared:
        need(messages, Kind(across=False))
    fabric = Fabric(
        nodes,
        inside=path(False, False) if shared else None,
        across=path(True, False) if several else None,
        inside_crossing=path(False, True) if shared else None,
        across_crossing=path(True, True) if several else None,
    )
    return fabric, used


def need(messages: Mapping[Kind, Fitted], kind: Kind) -> Fitted:
    """Return messages of a kind.

    Raises:
        NotComposed: where there are none; the text says what to measure.
    """
    if kind in messages:
        return messages[kind]
    how = "latency" if kind.window is None else f"bandwidth with window = {kind.window}"
    where = "" if kind.across else ' with between = "neighbours" and that many ranks'
    raise NotComposed(
        f"no {kind.words} were calibrated on; add {how}{where}, of at least six sizes"
    )
