"""What rows of a run say together: links that carry one way at a time."""

import msgspec
import pytest

from bench.core.records import About, Finding, Origin, Row, Status
from bench.judge.cut_short import BUDGET
from bench.judge.findings import IN_TURN, LEAST_IN_TURN, MOST_CASES, row_findings, select_told
from bench.judge.hosts import STANDS_OUT

RATE = 25e6


def row(benchmark: str, size: int, seconds: float, dst: str = "h2:rank1") -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        job="j",
        attempt=0,
        launch=0,
        order=0,
        case=f"{benchmark}/bytes={size}",
        benchmark=benchmark,
        status=Status.OK,
        src="h1:rank0",
        dst=dst,
        bytes=size,
        window=1,
        path="direct",
        t_median_s=seconds,
    )


def both(ratio: float, size: int = 2**18, dst: str = "h2:rank1") -> list[Row]:
    alone_s = size / RATE
    return [
        row("bandwidth", size, alone_s, dst),
        row("bibandwidth", size, ratio * alone_s, dst),
    ]


def found(rows: list[Row]) -> list[str]:
    return [finding.text for finding in row_findings(rows) if finding.name == IN_TURN]


@pytest.mark.parametrize("ratio", [2.0, 2.9])
def test_messages_that_wait_for_each_other_are_a_finding(ratio):
    (text,) = found([*both(ratio), *both(1.01, 2**20)])
    assert f"up to {ratio:.2g} times" in text
    assert "256 KiB" in text
    assert "at 1 of 2 sizes" in text


def test_one_way_in_a_shared_buffer_is_not_held_against_both_ways_in_others():
    alone, crossing = both(2.9)
    assert not found([msgspec.structs.replace(alone, params="buffers=shared"), crossing])
    same = [msgspec.structs.replace(r, params="buffers=shared") for r in (alone, crossing)]
    assert found(same)


def test_what_was_measured_and_where_stands_in_fields_too():
    (finding,) = (f for f in row_findings([*both(2.9), *both(1.01, 2**20)]) if f.name == IN_TURN)
    assert finding.about == About(cases=("bibandwidth/bytes=262144",), hosts=("h1", "h2"))
    assert (finding.value, finding.limit) == (pytest.approx(2.9), LEAST_IN_TURN)
    rows = [
        msgspec.structs.replace(row("memcpy", i, 1.0), params="oversubscribed=1")
        for i in range(MOST_CASES + 5)
    ]
    (marked,) = row_findings(rows)
    assert (marked.value, marked.limit, marked.unit) == (len(rows), None, "rows")
    assert marked.about.cases == tuple(row.case for row in rows[:MOST_CASES])
    assert marked.text.startswith(f"{len(rows)} rows")


@pytest.mark.parametrize(
    "rows",
    [
        both(1.02),
        both(3.0, size=1024),  # latency rules
        both(2.0, dst="h1:rank1"),  # cores and memory are shared
        both(3.0)[1:],  # nothing to hold it against
        [],
    ],
)
def test_nothing_is_said_of_links_that_carry_both_ways_or_where_nobody_knows(rows):
    assert found(rows) == []


def test_whoever_ran_a_suite_is_told_warnings_once_and_named_parts_first():
    load = Finding(name="load", level="warning", text="busy")
    note = Finding(name="hypervisor", level="note", text="a virtual machine")
    odd = Finding(name=STANDS_OUT, level="warning", text="h3 is slow")
    cut = Finding(name=BUDGET, level="note", text="cut")
    assert select_told([load, note, odd, cut, load]) == [odd, cut, load]
