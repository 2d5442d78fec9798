"""Products that a run was calibrated on, for those that a training step makes."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

from bench.model.shapes import Shapes, fit_shapes
from bench.record import Case, Row, Status


class FittedProducts(NamedTuple):
    """Products in single precision by ranks with so many threads, and the cases of them."""

    shapes: Shapes
    cases: frozenset[str]


def fit_products(cases: Mapping[str, Case], rows: Iterable[Row]) -> dict[int, FittedProducts]:
    """Return what products cost in host memory, by threads of a rank (0: a share of its cores).

    Args:
        cases: that may be fitted on, by id.
        rows: of them, and others.
    """
    times: dict[int, dict[tuple[int, int], dict[float, list[float]]]] = {}
    sources: dict[int, set[str]] = {}
    for row in rows:
        case = cases.get(row.case)
        if case is None or row.status is not Status.OK or not row.t_median_s or not _counts(case):
            continue
        threads = int(case.axes["threads"])
        shape = int(case.axes["k"]), int(case.axes["n"])
        by_batch = times.setdefault(threads, {}).setdefault(shape, {})
        by_batch.setdefault(float(case.axes["batch"]), []).append(row.t_median_s)
        sources.setdefault(threads, set()).add(case.id)
    found: dict[int, FittedProducts] = {}
    for threads, shapes in times.items():
        medians = {
            shape: {batch: median(seconds) for batch, seconds in batches.items()}
            for shape, batches in shapes.items()
        }
        try:
            found[threads] = FittedProducts(fit_shapes(medians), frozenset(sources[threads]))
        except ValueError:
            continue  # whoever needs them says that they are missing
    return found


def _counts(case: Case) -> bool:
    axes = case.axes
    return (
        case.benchmark == "matmul"
        and axes["dtype"] == "fp32"
        and axes.get("memory", "host") == "host"
        and axes.get("cache", "hot") == "hot"
    )
