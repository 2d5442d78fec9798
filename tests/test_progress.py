"""What is counted as done while rows wait for the end of their round."""

from bench.core.records import Case, Origin, Row, Status
from bench.run.progress import Tally


def case(name: str) -> Case:
    return Case(name, "latency", {"bytes": 8})


def row(name: str) -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        job="j",
        attempt=0,
        launch=0,
        order=0,
        case=name,
        benchmark="latency",
        status=Status.OK,
    )


def test_a_case_is_done_when_the_next_one_begins_though_its_row_waits():
    tally = Tally()
    counts = []
    for name in "abc":
        tally.begin(case(name))
        counts.append(tally.done)
    assert counts == [0, 1, 2]


def test_rows_that_come_at_the_end_of_a_round_are_not_counted_twice():
    tally = Tally()
    for name in "abc":
        tally.begin(case(name))
    for name in "abc":
        tally.begin(case(name))
        tally.end(row(name))
    assert tally.done == 3


def test_the_same_case_in_another_launch_counts_again():
    tally = Tally()
    for _ in range(2):
        tally.begin(case("a"))
        tally.end(row("a"))
    assert tally.done == 2
