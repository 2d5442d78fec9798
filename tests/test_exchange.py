"""Exchange of gradients: exact on every rank by every strategy, and what crosses links by count."""

from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import Loops, Meeting
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, Context
from bench.core.records import Axis, Case, Status, parse_params
from bench.core.schedule import Code, Schedule, Steps
from bench.measure import MEASUREMENTS
from bench.measure.exchange import one_bit
from bench.measure.exchange.gradient import MOST_RANKS, NOWHERE, STRATEGIES, choose
from bench.measure.exchange.parts import RankOnNode, exact_sum, terms
from bench.measure.exchange.traffic import LinkTraffic, count_traffic
from bench.predict.model.datasheet.collectives import Cluster, hierarchical, naive, ring
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

SUM = MEASUREMENTS["exchange"]
WAYS = [*((name, "at-once") for name in STRATEGIES), ("naive", "rounds")]
BY_HAND = [way for way in WAYS if way[0] not in ("library", "one-bit")]
Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def exchange_case(**axes: Axis) -> Case:
    return make_case("exchange", **{"bytes": 4096, "strategy": "ring", **axes})


def verify(case: Case, context: Context, meeting: Meeting, seed: int = 1) -> list[Checked]:
    operations = meeting.prepare(SUM, case, context)
    return meeting.all_do(lambda rank: operations[rank].verify(seed))


# Whether sums are right, and wrong ones seen.


@pytest.mark.parametrize(("strategy", "posting"), WAYS)
@pytest.mark.parametrize(("ranks", "per_node"), [(2, 2), (2, 1), (3, 1), (4, 2), (6, 3), (6, 2)])
def test_every_strategy_is_exact_on_every_rank(
    ranks: int, per_node: int, strategy: str, posting: str, context: Context
) -> None:
    case = exchange_case(bytes=40_004, ranks=ranks, strategy=strategy, posting=posting)
    for seed in (1, 2):
        found = verify(case, context, Meeting(ranks, per_node=per_node), seed)
        assert found == [Checked(40_004, 0)] * ranks


@pytest.mark.parametrize(("strategy", "posting"), WAYS)
@pytest.mark.parametrize("ranks", [2, 5])
def test_nodes_of_unequal_size_and_fewer_numbers_than_ranks_are_no_obstacle(
    ranks: int, strategy: str, posting: str, context: Context
) -> None:
    """Five ranks in nodes of three and two; a gradient of three numbers."""
    for nbytes in (4, 12, 4100):
        case = exchange_case(bytes=nbytes, ranks=ranks, strategy=strategy, posting=posting)
        found = verify(case, context, Meeting(ranks, per_node=3))
        assert found == [Checked(nbytes, 0)] * ranks


@pytest.mark.parametrize(("strategy", "posting"), WAYS)
def test_a_corrupted_byte_is_seen(strategy: str, posting: str, context: Context) -> None:
    hit = []

    def spoil(_code: Code, rank: int, elements: Numbers) -> None:
        if rank == 1 and not hit:
            hit.append(rank)
            elements.view(np.uint8)[-1] ^= 0x55

    case = exchange_case(ranks=4, strategy=strategy, posting=posting)
    found = verify(case, context, Meeting(4, spoil, per_node=2))
    assert hit
    assert sum(checked.bytes_wrong for checked in found) > 0


@given(ranks=st.integers(2, 40), count=st.integers(1, 3000), seed=st.integers(0, 5))
def test_terms_add_up_the_same_in_any_order(ranks: int, count: int, seed: int) -> None:
    backward = np.zeros(count, np.float32)
    for rank in reversed(range(ranks)):
        backward += terms(seed, rank, count)
    assert np.array_equal(backward, exact_sum(seed, ranks, count))


def test_the_largest_sum_is_exact_in_single_precision() -> None:
    assert MOST_RANKS * 1020 < 2**24


# What crosses links.


def traffic(strategy: str, posting: str, nodes: int, per_node: int, count: int) -> LinkTraffic:
    def steps_of(place: RankOnNode) -> Steps:
        schedule = Schedule()
        choose(strategy, posting, place, count).write(schedule, place, NOWHERE, count)
        return schedule.cut()

    places = tuple(node for node in range(nodes) for _ in range(per_node))
    return count_traffic(places, steps_of)


@pytest.mark.parametrize(
    ("strategy", "posting", "nodes", "expected"),
    [
        # g^2 (n - 1) m through a NIC; (p - 1) m by a rank; p (p - 1) messages.
        ("naive", "rounds", 2, LinkTraffic(36_000_000, 20_000_000, 30)),
        ("naive", "at-once", 2, LinkTraffic(36_000_000, 20_000_000, 30)),
        ("naive", "rounds", 4, LinkTraffic(108_000_000, 44_000_000, 132)),
        # 2 (p - 1) / p m, by every rank and through every link of the ring.
        ("ring", "rounds", 2, LinkTraffic(6_666_668, 6_666_668, 60)),
        # 2 (n - 1) / n m through a NIC.
        ("hierarchical", "rounds", 2, LinkTraffic(4_000_000, 6_666_668, 36)),
        ("hierarchical", "rounds", 4, LinkTraffic(6_000_000, 7_333_336, 120)),
    ],
)
def test_bytes_on_the_busiest_link_are_those_of_the_formula(
    strategy: str, posting: str, nodes: int, expected: LinkTraffic
) -> None:
    """4 MB on nodes of three; parts are equal within a number."""
    found = traffic(strategy, posting, nodes, 3, 1_000_000)
    assert found.messages == expected.messages
    assert found.link_bytes == pytest.approx(expected.link_bytes, abs=8 * nodes * 3)
    assert found.sent_bytes == pytest.approx(expected.sent_bytes, abs=8 * nodes * 3)


@pytest.mark.parametrize(("strategy", "posting"), BY_HAND)
@pytest.mark.parametrize(("nodes", "per_node"), [(2, 1), (2, 2), (3, 2), (4, 3)])
def test_what_is_sent_is_what_the_datasheet_model_says(
    strategy: str, posting: str, nodes: int, per_node: int
) -> None:
    """At one byte per second and no latency the model's seconds are bytes on the link."""
    count = 12 * 7
    model = {"naive": naive, "ring": ring, "hierarchical": hierarchical}[strategy]
    time = model(Cluster(nodes, per_node, 1.0), count * 4)
    sent = traffic(strategy, posting, nodes, per_node, count).link_bytes
    assert sent == pytest.approx(time.low_s or time.seconds)


# One bit.


@given(
    gradients=st.lists(
        st.lists(st.floats(-1e3, 1e3, width=32), min_size=5, max_size=5), min_size=1, max_size=6
    )
)
def test_sent_and_kept_are_the_gradients_to_the_last_bit(gradients: list[list[float]]) -> None:
    """Over several steps, in fractions without rounding, on a grid of 2^-30."""
    feedback = one_bit.Feedback(5)
    message = np.empty(one_bit.wire_bytes(5), np.uint8)
    sent = [Fraction(0)] * 5
    true = [Fraction(0)] * 5
    for gradient in gradients:
        numbers = (np.round(np.array(gradient) * 2**30) / 2**30).astype(np.float32)
        feedback.encode(numbers, message)
        assert feedback.lost == 0
        sent = [
            a + Fraction(float(b)) for a, b in zip(sent, one_bit.decode(message, 5), strict=True)
        ]
        true = [a + Fraction(float(b)) for a, b in zip(true, numbers, strict=True)]
    kept = [Fraction(float(number)) for number in feedback.kept]
    assert [a + b for a, b in zip(sent, kept, strict=True)] == true


def test_numbers_too_small_to_keep_are_counted_as_lost() -> None:
    feedback = one_bit.Feedback(2)
    message = np.empty(one_bit.wire_bytes(2), np.uint8)
    feedback.encode(np.array([1e20, 1e20], np.float32), message)
    feedback.encode(np.array([1e-20, 0], np.float32), message)
    assert feedback.lost == 1


def test_a_message_is_a_bit_for_each_number_and_a_scale_for_each_block() -> None:
    assert one_bit.wire_bytes(1_000_000) == 4_000_000 // 32 + 4 * 245
    assert one_bit.wire_bytes(9) == 2 + 4


# What a row says.


def test_it_says_what_it_cannot_do(context: Context) -> None:
    assert "needs MPI" in (SUM.unsupported(exchange_case(), context) or "")
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    posted = exchange_case(posting="rounds")
    assert "naive" in (SUM.unsupported(posted, here) or "")
    assert SUM.unsupported(exchange_case(), here) is None
    columns = SUM.columns(exchange_case(strategy="naive"))
    assert columns == {"algorithm": "naive", "dtype": "fp32"}
    assert SUM.work(exchange_case(bytes=4099)).bytes == 4096


SUITE = """
[suite]
name = "exchange"
cap_s = 0.02
[[benchmark]]
name = "exchange"
bytes = ["8 B", "1 MB"]
strategy = ["naive", "ring", "hierarchical", "library", "one-bit"]
[[benchmark]]
name = "exchange"
bytes = "100 kB"
strategy = ["naive", "hierarchical"]
ranks = 4
[[benchmark]]
name = "exchange"
bytes = "100 kB"
strategy = ["naive", "ring"]
posting = "rounds"
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_exchanges_of_2_and_4_ranks_are_measured_and_right(tmp_path: Any) -> None:
    rows = by_case(run(tmp_path, suite=SUITE))
    assert len(rows) == 10 + 2 + 2
    skipped = {row.case for row in rows.values() if row.status is Status.SKIPPED}
    assert skipped == {"exchange/bytes=100000/posting=rounds/strategy=ring"}
    for row in rows.values():
        if row.case in skipped:
            assert "naive" in (row.reason or "")
            continue
        assert row.status is Status.OK, row.reason
        assert row.bytes_checked == 2 * (row.ranks or 0) * (row.bytes or 0)
        assert row.bytes_wrong == 0
        params = parse_params(row.params)
        assert params["strategy"] == row.algorithm
        # All on one node: nothing crosses a network.
        assert params.get("link_bytes") == (None if row.algorithm == "library" else "0")
