"""Nodes and GPUs beside each other: the slow one is named, by the time that shows it, and no other.

The share of false alarms is that of simulated fleets, whose places differ by chance alone.
"""

import re
from typing import Any

import numpy as np
import pytest

from bench.core.records import Finding, Origin, Row, Status
from bench.judge.findings import row_findings
from bench.judge.fleet import (
    FALSE_ALARMS,
    SLOWER,
    Point,
    find_slower,
    fleet_findings,
)


def row(place: str, seconds: float, mean_s: float | None = None, **more: Any) -> Row:
    host = place.partition(":")[0]
    values: dict[str, Any] = {"case": "matmul/batch=64", "benchmark": "matmul", "launch": 0, **more}
    return Row(
        run="r",
        origin=Origin.MEASURED,
        status=Status.OK,
        src=place,
        src_host=host,
        statistic="median",
        t_median_s=seconds,
        t_mean_s=seconds if mean_s is None else mean_s,
        **values,
    )


def fleet(count: int, spread: float = 0.01, seed: int = 0) -> list[Row]:
    random = np.random.default_rng(seed)
    times = np.exp(spread * random.standard_normal(count))
    return [row(f"n{i}", float(t)) for i, t in enumerate(times)]


@pytest.mark.parametrize("count", [4, 8, 16, 100])
@pytest.mark.parametrize("slow", [1.5, 4.0])
def test_the_slow_node_is_named_and_no_other(count: int, slow: float) -> None:
    rows = [*fleet(count), row("odd", slow)]
    (finding,) = fleet_findings(rows)
    assert finding.text.startswith(f"odd is slower than the other {count} in matmul")
    (ratio, limit), *_ = re.findall(r"take (\S+) times .*?where (\S+) times", finding.text)
    assert float(ratio) == pytest.approx(slow, rel=0.05)
    assert float(limit) < slow


@pytest.mark.parametrize("count", [4, 16])
def test_what_stops_now_and_then_shows_in_the_mean_alone(count: int) -> None:
    rows = [*fleet(count), row("odd", 1.0, 2.0)]
    (finding,) = fleet_findings(rows)
    assert finding.text.startswith("odd is slower")
    assert "on average it takes" in finding.text
    assert "half of its samples" not in finding.text


def test_a_node_that_is_faster_is_no_finding() -> None:
    assert fleet_findings([*fleet(16), row("odd", 0.5)]) == []


def test_of_two_nodes_neither_is_odd() -> None:
    assert fleet_findings([row("a", 1.0), row("b", 5.0)]) == []


def test_a_tenth_is_within_what_like_nodes_may_differ() -> None:
    assert fleet_findings([*fleet(30, 1e-6), row("odd", 1.09)]) == []
    assert len(fleet_findings([*fleet(30, 1e-6), row("odd", 1.11)])) == 1


def test_several_odd_ones_of_many_are_one_finding_with_folded_names() -> None:
    rows = [*fleet(40), *(row(f"slow{i}", 2.0 + i / 10) for i in range(4))]
    (finding,) = fleet_findings(rows)
    assert finding.text.startswith("slow[0-3] are slower than the other 40")
    least, most = re.findall(r"take ([\d.]+) to ([\d.]+) times", finding.text)[0]
    assert (float(least), float(most)) == pytest.approx((2.0, 2.3), rel=0.02)


def test_a_gpu_is_a_place_of_its_own() -> None:
    more: dict[str, Any] = {"src_memory": "device", "dst_memory": "device"}
    rows = [row(f"n{i // 8}:gpu{i % 8}", 1 + i / 5000, **more) for i in range(16)]
    rows[11] = row("n1:gpu3", 1.4, **more)
    (finding,) = fleet_findings(rows)
    assert finding.text.startswith("n1:gpu3 is slower than the other 15 in matmul in device memory")


def test_a_node_has_to_be_slow_in_most_of_its_cases() -> None:
    def rows(slow_in: int) -> list[Row]:
        return [
            row(f"n{i}", 3.0 if i == 7 and case < slow_in else 1.0 + i / 1000, case=f"m{case}")
            for case in range(5)
            for i in range(12)
        ]

    assert fleet_findings(rows(slow_in=2)) == []
    assert len(fleet_findings(rows(slow_in=3))) == 1


def test_rows_of_the_whole_job_are_no_fleet() -> None:
    rows = [row(f"n{i}", 1.0, benchmark="allreduce") for i in range(8)]
    assert fleet_findings([*rows, row("odd", 9.0, benchmark="allreduce")]) == []


def test_it_is_among_the_findings_of_a_run() -> None:
    names = [finding.name for finding in row_findings([*fleet(8), row("odd", 3.0)])]
    assert SLOWER in names


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("count", [3, 4, 6, 12, 16, 64])
def test_fleets_of_like_nodes_give_no_more_alarms_than_stated(count: int, spread: float) -> None:
    random = np.random.default_rng(count)
    fleets = 600
    alarms = 0
    for _ in range(fleets):
        times = np.exp(spread * random.standard_normal(count))
        points = [Point(f"n{i}", "c", 0, t, t) for i, t in enumerate(times.tolist())]
        alarms += bool(find_slower(points))
    # Three standard deviations of a count of rare events above the share that is allowed.
    allowed = FALSE_ALARMS * fleets
    assert alarms <= allowed + 3 * allowed**0.5


def test_value_and_limit_stand_in_the_text() -> None:
    (finding,) = fleet_findings([*fleet(8), row("odd", 3.0)])
    assert isinstance(finding, Finding)
    ratio, limit = (float(text) for text in re.findall(r"([\d.]+) times", finding.text)[:2])
    assert ratio > limit > 1


def blocks(count: int, spread: float, seed: int, slow: float = 1.0) -> list[Point]:
    """Return ten cases and launches of some places, each scattered anew; the last one is slow."""
    random = np.random.default_rng(seed)
    factors = [1.0] * (count - 1) + [slow]
    return [
        Point(f"n{place}", f"c{case}", launch, 1.0, factor * float(np.exp(spread * noise)))
        for launch in range(5)
        for case in range(2)
        for place, (factor, noise) in enumerate(
            zip(factors, random.standard_normal(count), strict=True)
        )
    ]


@pytest.mark.parametrize("count", [4, 8])
def test_one_of_few_that_comes_last_again_and_again_is_named_however_they_scatter(count: int):
    named = [find_slower(blocks(count, 0.2, seed, slow=2.0)) for seed in range(40)]
    assert sum(list(one) == [f"n{count - 1}"] for one in named) >= 38


@pytest.mark.parametrize("count", [3, 4, 8])
@pytest.mark.parametrize("spread", [0.02, 0.2, 0.5])
def test_few_like_places_that_come_last_by_chance_are_not_named(count: int, spread: float):
    alarms = sum(bool(find_slower(blocks(count, spread, seed))) for seed in range(300))
    allowed = 300 * FALSE_ALARMS
    assert alarms <= allowed + 3 * allowed**0.5
