"""Messages between two ranks that a run was calibrated on, and the fabric that they make."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

import msgspec

from bench.core.hostnames import host_of
from bench.core.records import CONTROL, Case, Row, Status
from bench.measure.axes import shares_buffer
from bench.measure.profiles import first_with, profile_of
from bench.predict.model.composed.fabric import Fabric
from bench.predict.model.composed.path import MessagePath, SendersPoint, fit_path


class MessageKind(NamedTuple):
    """A class of messages between two ranks."""

    across: bool
    """Between nodes; inside one where False."""
    window: int | None = None
    """Messages in flight; None for one after the other."""
    crossing: bool = False
    """Whether as many go the other way at the same time."""
    shared: bool = False
    """Whether all in flight share a buffer."""

    @property
    def words(self) -> str:
        """What they are."""
        there = "across nodes" if self.across else "inside a node"
        return (
            f"messages {there}"
            + (", both ways at once" if self.crossing else "")
            + (" in shared buffers" if self.shared else "")
        )


class Fitted(NamedTuple):
    """Messages of a kind, and the cases that they were measured by."""

    path: MessagePath
    cases: frozenset[str]


class NotComposed(Exception):  # noqa: N818 - an answer, not a fault
    """The case cannot be composed; the text names what is missing."""


class Messages(msgspec.Struct, frozen=True):
    """What messages of each kind cost, host memory to host memory."""

    fitted: Mapping[MessageKind, Fitted]
    refused: Mapping[MessageKind, str]
    """Kinds that were measured but cannot be fitted, and why."""

    def need(self, kind: MessageKind) -> Fitted:
        """Return messages of a kind.

        Raises:
            NotComposed: where there are none; the text gives the reason, or what to measure.
        """
        if kind in self.fitted:
            return self.fitted[kind]
        if kind in self.refused:
            raise NotComposed(f"{kind.words}: {self.refused[kind]}")
        how = (
            first_with("message")
            if kind.window is None
            else f"{first_with('window')} with window = {kind.window}"
            + (' and buffers = "shared"' if kind.shared else "")
        )
        where = "" if kind.across else ' with between = "neighbours" and that many ranks'
        raise NotComposed(
            f"no {kind.words} were calibrated on; add {how}{where}, of at least six sizes"
        )


def fit_messages(cases: Mapping[str, Case], rows: Iterable[Row]) -> Messages:
    """Return what calibration cases measured.

    Args:
        cases: that may be fitted on, by id.
        rows: of them, and others.
    """
    times: dict[MessageKind, dict[float, list[float]]] = {}
    sources: dict[MessageKind, set[str]] = {}
    together: dict[tuple[int, bool], list[_Together]] = {}
    for row in rows:
        case = cases.get(row.case)
        if case is None or row.status is not Status.OK or not row.t_median_s or not row.bytes:
            continue
        if (
            profile_of(case.benchmark).part == "senders"
            and moves_host_memory(case)
            and shares_a_link(case, row.nodes)
        ):
            point = SendersPoint(int(case.axes["pairs"]), float(row.bytes), row.t_median_s)
            alike = int(case.axes["window"]), shares_buffer(case)
            together.setdefault(alike, []).append(_Together(point, case.id))
        elif (kind := _kind(row, case)) is not None:
            times.setdefault(kind, {}).setdefault(float(row.bytes), []).append(row.t_median_s)
            sources.setdefault(kind, set()).add(case.id)
    fitted: dict[MessageKind, Fitted] = {}
    refused: dict[MessageKind, str] = {}
    for kind, by_size in times.items():
        most = _most_senders(kind, together)
        medians = {size: median(by_size[size]) for size in sorted(by_size)}
        try:
            path = fit_path([*medians], [*medians.values()], most.point if most else None)
        except ValueError as error:
            refused[kind] = str(error)
            continue
        fitted[kind] = Fitted(path, frozenset(sources[kind] | ({most.case} if most else set())))
    return Messages(fitted, refused)


class _Together(NamedTuple):
    """A point of several senders, and its case."""

    point: SendersPoint
    case: str


def _most_senders(
    kind: MessageKind, together: Mapping[tuple[int, bool], list[_Together]]
) -> _Together | None:
    """Return the point of most senders across nodes: of the same window, or for single messages.

    Args:
        together: points by window, and by whether its messages share a buffer.
    """
    if not kind.across:
        return None
    points = (
        [point for (_, shared), every in together.items() if not shared for point in every]
        if kind.window is None
        else together.get((kind.window, kind.shared), [])
    )
    return max(points, key=lambda one: (one.point.senders, one.point.size), default=None)


def _kind(row: Row, case: Case) -> MessageKind | None:
    """Return the kind of messages that a row measured alone, or None."""
    axes = case.axes
    if not moves_host_memory(case) or row.src is None or row.dst is None:
        return None
    if axes.get("at_once") == "round":  # other pairs may share the link
        return None
    across = host_of(row.src) != host_of(row.dst)
    part = profile_of(case.benchmark).part
    if part == "message":
        return MessageKind(across)
    if part == "window":
        return MessageKind(across, int(axes["window"]), shared=shares_buffer(case))
    if part == "crossing" and axes["window"] == 1:
        return MessageKind(across, crossing=True)
    return None


def moves_host_memory(case: Case) -> bool:
    """Return whether a case passes messages by MPI from host memory to host memory."""
    axes = case.axes
    ends = {axes.get("memory", "host"), axes.get("dst_memory", "host")} - {"same"}
    by_mpi = axes.get("path", "direct") == "direct" and axes.get("library", "mpi") == "mpi"
    return ends <= {"host"} and by_mpi and CONTROL not in axes


def shares_a_link(case: Case, nodes: int | None) -> bool:
    """Return whether all pairs send from one node to one other."""
    pairs, ranks = int(case.axes["pairs"]), int(case.axes["ranks"])
    halves = ranks % 2 == 0 and 2 * pairs <= ranks
    return nodes == 2 and halves and case.axes.get("pattern") in ("bisection", "farthest")


def weave(nodes: tuple[int, ...], messages: Messages) -> tuple[Fabric, list[Fitted]]:
    """Return the fabric of ranks on nodes, and what it is made of.

    Raises:
        NotComposed: where messages that it needs were not calibrated on.
    """
    used: list[Fitted] = []

    def path(there: bool, across: bool, crossing: bool) -> MessagePath | None:
        """Return a path where any ranks are that far apart; crossing ones where measured."""
        kind = MessageKind(across, crossing=crossing)
        if not there or (crossing and kind not in messages.fitted):
            return None
        fitted = messages.need(kind)
        used.append(fitted)
        return fitted.path

    several, shared = len(set(nodes)) > 1, len(nodes) > len(set(nodes))
    fabric = Fabric(
        nodes,
        inside=path(shared, across=False, crossing=False),
        across=path(several, across=True, crossing=False),
        inside_crossing=path(shared, across=False, crossing=True),
        across_crossing=path(several, across=True, crossing=True),
    )
    return fabric, used
