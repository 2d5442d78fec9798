"""What the harness itself costs, measured by pytest-benchmark: `scripts/prove-overhead` runs it.

Under `scripts/check` each of them runs once, as a test that it works at that size.
"""

from pathlib import Path
from typing import Any

import pytest

from bench.core.events import CaseEnded, decode, encode
from bench.core.records import Case, Job, Origin, Row, Sampling, Stage, Status
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.world import SoloWorld
from bench.run.rows import Place, make_row
from bench.store.files import Appender
from bench.store.tables import csv_lines, header_line, read_csv

ROWS = 100_000
LARGE = """
[suite]
name = "large"
[[benchmark]]
name = "latency"
bytes = { from = 1, to = 50000, step = 1 }
[[benchmark]]
name = "bandwidth"
bytes = { from = 1, to = 50000, step = 1 }
"""
COPY = Case("memcpy/bytes=1", "memcpy", {"bytes": 1, "memory": "host", "ranks": 1})
NO_WAIT = Sampling(cap_s=0.0, warmup_s=0.0, warmup_cap_s=0.0)


def test_an_empty_case(benchmark: Any) -> None:
    """Set up, verify twice, take the least number of samples, and turn the events into a row."""
    world = SoloWorld()
    context = open_context(world, 1)
    place = Place("r", Origin.MEASURED, Job("j", Stage.TARGET, 0, 1, 1, (COPY,)), 0)

    def run() -> Row:
        lines = [encode(event) for event in execute_case(COPY, NO_WAIT, world, context)]
        events = [decode(line) for line in lines]
        ended = events[-1]
        assert isinstance(ended, CaseEnded)
        return make_row(place, COPY, ended, {0: (1e-9,) * 5}, None, None)

    assert benchmark(run).status is Status.OK


def test_a_plan_of_100_000_cases(benchmark: Any) -> None:
    suite = parse_suite(LARGE, "large")
    plan = benchmark.pedantic(make_plan, args=(suite,), rounds=3)
    assert plan.cases() == ROWS


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    job = Job("j", Stage.TARGET, 0, 1, 1, (COPY,))
    samples = {0: tuple(1e-6 + i * 1e-9 for i in range(30))}
    ended = CaseEnded(case=COPY.id, status=Status.OK, loops=16, warmups=100, converged=True)
    row = make_row(Place("r", Origin.MEASURED, job, 0), COPY, ended, samples, None, None)
    return [row] * ROWS


def test_100_000_rows_appended_one_by_one(benchmark: Any, rows: list[Row], tmp_path: Path) -> None:
    def append() -> None:
        (tmp_path / "results.csv").unlink(missing_ok=True)
        file = Appender(tmp_path / "results.csv", header_line(Row))
        for row in rows:
            file.write(csv_lines([row]))
        file.close()

    benchmark.pedantic(append, rounds=3)
    assert (tmp_path / "results.csv").read_text().count("\n") == ROWS + 1


def test_100_000_rows_read(benchmark: Any, rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    file = Appender(path, header_line(Row))
    file.write(csv_lines(rows))
    file.close()
    assert benchmark.pedantic(read_csv, args=(path, Row), rounds=3) == rows
