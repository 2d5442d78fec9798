"""What the page is made of takes time as the size of the run, not as its square."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from synthetic import write_run

from bench.judge.hosts import Matrix, compare_hosts
from bench.judge.noise import NoiseFloor
from bench.judge.statistics import summarise
from bench.judge.table import load
from bench.report import captions
from bench.report.style import split_series


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("growth") / "run", benchmarks=["latency"])


def seconds_of(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken)


def repeated(table: pd.DataFrame, times: int, column: str) -> pd.DataFrame:
    """Return the first line of a table so many times, with other values in one column."""
    lines = pd.concat([table.head(1)] * times, ignore_index=True)
    return lines.assign(**{column: range(times)})


def grows_as_its_size(act: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Return whether four times the size take less than eight times as long, the square sixteen."""
    return seconds_of(act(4 * size)) < 8 * seconds_of(act(size)) + 0.005


def test_the_caption_of_samples(run):
    table = load(run)
    one = np.linspace(1.0, 2.0, 2000)
    name = table["run"].iloc[0]

    def say(launches: int) -> Callable[[], object]:
        return lambda: captions.samples_in_order(table, {name: [one] * launches})

    assert grows_as_its_size(say, 100)


def test_the_noise_floor_over_launches(run):
    lines = repeated(load(run), 16_000, "launch")

    def judge(launches: int) -> Callable[[], object]:
        return lambda: NoiseFloor(lines.head(launches), run)

    assert grows_as_its_size(judge, 4000)


def test_the_series_of_a_figure(run):
    lines = repeated(load(run), 2000, "series").assign(case=[f"c{i}" for i in range(2000)])
    points = summarise(lines)

    def split(series: int) -> Callable[[], object]:
        return lambda: split_series(points.head(series), lines.head(series))

    assert grows_as_its_size(split, 500)


def test_the_comparison_of_hosts():
    def compare(hosts: int) -> Callable[[], object]:
        # Of each host four others: the pairs grow as the hosts.
        rates = {
            (f"h{i}", f"h{(i + step) % hosts}"): 1e9 + i
            for i in range(hosts)
            for step in range(1, 5)
        }
        matrix = Matrix("messages", tuple(f"h{i}" for i in range(hosts)), rates, 1)
        return lambda: compare_hosts(matrix)

    assert grows_as_its_size(compare, 1000)
