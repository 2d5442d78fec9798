"""Products that a run was calibrated on, for those that a training step makes."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

import msgspec

from bench.core.records import Case, Row, Status
from bench.measure.profiles import first_with, profile_of
from bench.predict.compose.messages import NotComposed
from bench.predict.model.shapes import Shapes, fit_shapes


class FittedProducts(NamedTuple):
    """Products in single precision, and the cases of them."""

    shapes: Shapes
    cases: frozenset[str]


class Crew(NamedTuple):
    """How many ranks of a node compute at once, with how many threads each."""

    ranks_per_node: int
    threads: int


class Products(msgspec.Struct, frozen=True):
    """What products cost in host memory."""

    fitted: Mapping[Crew, FittedProducts]
    refused: Mapping[Crew, str]
    """Crews whose products were measured but cannot be fitted, and why."""

    def need(self, crew: Crew) -> FittedProducts:
        """Return products of a crew.

        Raises:
            NotComposed: where there are none; the text gives the reason, or what to measure.
        """
        if crew in self.fitted:
            return self.fitted[crew]
        if crew in self.refused:
            raise NotComposed(f"products: {self.refused[crew]}")
        if crew.threads == 0:
            raise NotComposed("threads = 0 is another count for other ranks; name the threads")
        raise NotComposed(
            f"no products of {crew.ranks_per_node} ranks a node with threads = {crew.threads} were "
            f"calibrated on; add {first_with('product')} of a few batches"
        )


def fit_products(cases: Mapping[str, Case], rows: Iterable[Row]) -> Products:
    """Return what calibration cases measured.

    Args:
        cases: that may be fitted on, by id.
        rows: of them, and others.
    """
    times: dict[Crew, dict[tuple[int, int], dict[float, list[float]]]] = {}
    sources: dict[Crew, set[str]] = {}
    for row in rows:
        case = cases.get(row.case)
        if case is None or row.status is not Status.OK or not row.t_median_s or not _counts(case):
            continue
        crew = Crew(row.ranks_per_node or 1, int(case.axes["threads"]))
        shape = int(case.axes["k"]), int(case.axes["n"])
        by_batch = times.setdefault(crew, {}).setdefault(shape, {})
        by_batch.setdefault(float(case.axes["batch"]), []).append(row.t_median_s)
        sources.setdefault(crew, set()).add(case.id)
    fitted: dict[Crew, FittedProducts] = {}
    refused: dict[Crew, str] = {}
    for crew, shapes in times.items():
        medians = {
            shape: {batch: median(seconds) for batch, seconds in batches.items()}
            for shape, batches in shapes.items()
        }
        try:
            fitted[crew] = FittedProducts(fit_shapes(medians), frozenset(sources[crew]))
        except ValueError as error:
            refused[crew] = str(error)
    return Products(fitted, refused)


def _counts(case: Case) -> bool:
    axes = case.axes
    return (
        profile_of(case.benchmark).part == "product"
        and axes["dtype"] == "fp32"
        and axes["threads"] != 0
        and axes.get("memory", "host") == "host"
        and axes.get("cache", "hot") == "hot"
    )
