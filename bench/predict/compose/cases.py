"""Times of cases that no model is fitted on, composed of measured messages and products."""

from collections.abc import Iterable, Mapping

import msgspec

from bench.core.placement import Limits, place_within
from bench.core.records import Case, Row
from bench.measure import MEASUREMENTS
from bench.measure.axes import shares_buffer
from bench.measure.profiles import profile_of
from bench.measure.training.network import split_layers, widths_of
from bench.predict.compose.messages import (
    Fitted,
    MessageKind,
    Messages,
    NotComposed,
    fit_messages,
    moves_host_memory,
    shares_a_link,
    weave,
)
from bench.predict.compose.products import Crew, Products, fit_products
from bench.predict.model.composed.exchange import Composed, compose, compose_library
from bench.predict.model.composed.fabric import Fabric
from bench.predict.model.composed.path import alarms
from bench.predict.model.composed.training import STACK, exchanges, products

COMPOSED = frozenset(name for name, one in MEASUREMENTS.items() if one.profile.composition)
"""Benchmarks whose times are composed."""

MOST_RANKS = 1024
"""Exchanges among all of a node's ranks, or of all, count their messages, which grow as squares."""


class Parts(msgspec.Struct, frozen=True):
    """What times are composed of."""

    messages: Messages
    products: Products


def fit_parts(cases: Mapping[str, Case], rows: Iterable[Row]) -> Parts:
    """Return what calibration cases measured of messages and products.

    Args:
        cases: that may be fitted on, by id.
        rows: of them, and others.
    """
    rows = list(rows)
    return Parts(fit_messages(cases, rows), fit_products(cases, rows))


class Composition(msgspec.Struct, frozen=True):
    """Seconds, how they were composed, and of which cases."""

    seconds: float
    formula: str
    parameters: tuple[float, ...]
    cases: frozenset[str]


def compose_case(case: Case, parts: Parts, hosts: Limits | None) -> Composition:
    """Return the time of a case.

    Args:
        case: of `COMPOSED`.
        parts: as fitted.
        hosts: that ranks are spread over, how many or the most ranks of each; None where nobody
            knows.

    Raises:
        NotComposed: where something is missing.
    """
    if not moves_host_memory(case):
        raise NotComposed("only messages by MPI between host memories are composed")
    if case.axes.get("mode") == "throughput":
        raise NotComposed("calls back to back may overlap, and how far was not measured")
    nodes = _place(int(case.axes["ranks"]), hosts)
    profile = profile_of(case.benchmark)
    if profile.composition == "senders":
        return _compose_senders(case, nodes, parts.messages)
    fabric, used = weave(nodes, parts.messages)
    try:
        if profile.composition == "step":
            return _compose_step(case, fabric, used, parts.products)
        size = float(case.axes["bytes"])
        if profile.composition == "sum":
            found = _compose_sum(case, fabric, size)
        else:
            found = compose_library(fabric, size, str(profile.operation))
    except ValueError as error:
        raise NotComposed(str(error)) from error
    return _composition(found.seconds, found.formula, used)


def _place(ranks: int, hosts: Limits | None) -> tuple[int, ...]:
    if ranks > MOST_RANKS:
        raise NotComposed(f"{ranks} ranks; messages of up to {MOST_RANKS} are followed one by one")
    if hosts is None:
        raise NotComposed("on which nodes its ranks will be is not known")
    placement = place_within(ranks, hosts)
    if len({*placement.counts}) > 1:
        raise NotComposed(f"{ranks} ranks do not spread evenly over {placement.nodes} nodes")
    return placement.node_of_ranks()


def _compose_senders(case: Case, nodes: tuple[int, ...], messages: Messages) -> Composition:
    if not shares_a_link(case, len(set(nodes))):
        raise NotComposed("its pairs do not all send from one node to one other")
    window, shared = int(case.axes["window"]), shares_buffer(case)
    fitted = messages.need(MessageKind(across=True, window=window, shared=shared))
    pairs, size = int(case.axes["pairs"]), float(case.axes["bytes"])
    formula = f"alpha + {pairs} m / B of all senders"
    return _composition(fitted.path.seconds(size, pairs), formula, [fitted])


def _compose_sum(case: Case, fabric: Fabric, size: float) -> Composed:
    strategy = str(case.axes["strategy"])
    if strategy == "library":
        return compose_library(fabric, size, "all-reduce")
    if strategy == "naive" and case.axes.get("posting") != "rounds":
        strategy = "naive-at-once"
    if strategy == "one-bit":
        raise NotComposed("what encoding costs was not measured")
    return compose(fabric, size, strategy)


def _compose_step(
    case: Case,
    fabric: Fabric,
    used: list[Fitted],
    measured: Products,
) -> Composition:
    """Return the time of a step whose messages and products follow each other."""
    axes, layers = case.axes, int(case.axes["layers"])
    if axes["overlap"] != "none":
        raise NotComposed("how far messages and products go on together was not measured")
    step = (
        split_layers(str(axes["split"]), layers),
        widths_of(int(axes["d_in"]), int(axes["d_out"]), layers),
        int(axes["batch"]),
        fabric.ranks,
    )
    seconds = 0.0
    for adds, size in exchanges(*step):
        found = _compose_sum(case, fabric, size) if adds else compose(fabric, size, STACK)
        seconds += found.seconds
    if axes["part"] == "exchange":
        return _composition(seconds, f"sums by {axes['strategy']}, stacks by a ring", used)
    shapes, cases = measured.need(Crew(fabric.per_node, int(axes["threads"])))
    seconds += sum(shapes.seconds(*product) for product in products(*step))
    formula = f"sums by {axes['strategy']}, stacks by a ring, and products; updates are left out"
    composed = _composition(seconds, formula, used)
    return msgspec.structs.replace(composed, cases=composed.cases | cases)


def _composition(seconds: float, formula: str, used: Iterable[Fitted]) -> Composition:
    used = list(used)
    warnings = sorted({alarm for fitted in used for alarm in alarms(fitted.path)})
    alarms_text = "".join(f"; alarm: {warning}" for warning in warnings)
    return Composition(
        seconds,
        f"composed of measured messages, {formula}{alarms_text}",
        tuple(value for fitted in used for value in fitted.path.curve.parameters),
        frozenset(case for fitted in used for case in fitted.cases),
    )
