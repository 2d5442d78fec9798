"""Logs of nccl-tests, every second size held out."""

import sys
from pathlib import Path

from bench.core.errors import RequestError, printable
from bench.core.units import parse_rate
from bench.imports.nccl_tests import read_log
from bench.judge.alternate import LEAST_SIZES, Curve, hold_out
from bench.judge.score import format_percent
from bench.predict.model.conformal import COVERAGE
from provekit.tables import print_error_verdict, print_errors, print_verdict

MOST_ERROR = 0.04
MOST_HALF_WIDTH = 1.25


def prove_logs(folder: Path, limits: list[str]) -> bool:
    """Print the errors by log and over all of them, and whether the targets are met.

    Raises:
        RequestError: where a log cannot be read, no two are usable, or `limits` names none.
    """
    pooled = print_errors("log", hold_out(_read_curves(folder, dict(map(_limit, limits)))))
    met = print_error_verdict("all logs", pooled.median_error, MOST_ERROR)
    coverage = pooled.coverage
    if coverage is None:
        return print_verdict("no intervals", False)
    bounds = f"{format_percent(coverage.low)} to {format_percent(coverage.high)}"
    text = f"intervals may hold {bounds} of cases, meant to hold {format_percent(COVERAGE)}"
    met &= print_verdict(text, coverage.allows(COVERAGE))
    text = f"half-width x{coverage.half_width:.3f}, wanted at most x{MOST_HALF_WIDTH}"
    return print_verdict(text, coverage.half_width <= MOST_HALF_WIDTH) and met


def _limit(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    return name, parse_rate(rate)


def _read_curves(folder: Path, fastest: dict[str, float]) -> list[Curve]:
    """Return one curve of each log that has enough sizes; what is left out is named."""
    curves = []
    for path in sorted([*folder.glob("*.log"), *folder.glob("*.txt")]):
        try:
            log = read_log(path.read_text(encoding="utf-8", errors="replace"), printable(path.name))
        except OSError as error:
            raise RequestError(f"{printable(path.name)}: {error.strerror}") from None
        for problem in log.problems:
            print(f"prove-prediction: {printable(path.name)}: {problem}", file=sys.stderr)
        # A size that was run several times counts with its first line; an empty one is no size.
        points = {line.size: line.out_of_place.seconds for line in reversed(log.lines) if line.size}
        if len(points) < LEAST_SIZES:
            print(f"prove-prediction: {printable(path.name)}: too few sizes", file=sys.stderr)
            continue
        name, sizes = printable(path.stem, 40), sorted(points)
        seconds = tuple(points[size] for size in sizes)
        curves.append(Curve(name, tuple(map(float, sizes)), seconds, fastest.pop(path.stem, None)))
    if fastest:
        raise RequestError(f"--fastest names no log: {printable(', '.join(fastest))}")
    if len(curves) < 2:
        raise RequestError(f"{len(curves)} usable logs in {folder}; intervals need two at least")
    return curves
