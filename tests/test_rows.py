"""From samples to a row: the right statistic over the right ranks, and the rates that follow."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.events import CaseEnded, Facts, RankFacts
from bench.core.records import Axis, Case, Job, Origin, Row, Stage, Status, parse_params
from bench.measure import MEASUREMENTS
from bench.measure.blocks import KINDS
from bench.plan.plan import expand
from bench.plan.suite import Block
from bench.run.rows import Place, aggregate, make_row
from bench.run.runner import placement_findings

STARTED = "2026-11-20T09:00:00.000000Z"
TEN = tuple(i * 1e-6 for i in (7, 3, 1, 9, 5, 2, 10, 4, 8, 6))


def make_case(name: str, **axes: Axis) -> Case:
    chosen = {axis.name: (axis.default[0],) for axis in MEASUREMENTS[name].axes}
    return next(expand(Block(name, {**chosen, **{axis: (v,) for axis, v in axes.items()}})))


def place(case: Case) -> Place:
    job = Job("003-target-1-2r1t", Stage.TARGET, 1, 2, 1, (case,), attempt=2)
    return Place("the-run", Origin.MEASURED, job, 17)


def facts(*ranks: tuple[str, tuple[int, ...]]) -> Facts:
    return Facts(
        ranks=tuple(RankFacts(host, 100 + i, cores) for i, (host, cores) in enumerate(ranks)),
        mpi_library="Open MPI v5.0.11",
        thread_level="single",
        message_layer="numba",
        overhead_s=None,
        nodes={},
    )


PAIR = facts(("a", (0,)), ("b", (0,)))


def row_of(
    case: Case,
    samples: dict[int, tuple[float, ...]],
    where: Facts | None = PAIR,
    **ended: object,
) -> Row:
    told = {"status": Status.OK, "loops": 4, "warmups": 100, "converged": True, **ended}
    return make_row(place(case), case, CaseEnded(case=case.id, **told), samples, where, STARTED)


# Where a row belongs.


def test_a_row_names_its_run_job_attempt_launch_and_place():
    row = row_of(make_case("latency"), {0: TEN})
    assert (row.run, row.origin, row.job) == ("the-run", Origin.MEASURED, "003-target-1-2r1t")
    assert (row.attempt, row.launch, row.order) == (2, 1, 17)
    assert (row.case, row.benchmark) == ("latency/bytes=8", "latency")
    assert row.started_utc == STARTED


# Statistics, by hand.


def test_a_row_of_several_sets_of_pages_says_how_far_apart_they_lie_and_allows_for_it():
    samples = {0: (1e-6, 2e-6, 3e-6, 6e-6) * 5}
    apart, alone = (
        row_of(make_case("bandwidth"), samples, params=params)
        for params in ({"page_sets": 4}, {"page_sets": 1})
    )
    assert parse_params(apart.params)["page_set_spread"] == "2.0"
    assert "page_set_spread" not in parse_params(alone.params)
    assert parse_params(alone.params)["page_sets"] == "1"
    assert apart.t_median_s == alone.t_median_s == pytest.approx(2.5e-6)
    assert apart.t_ci_low_s < alone.t_ci_low_s < alone.t_ci_high_s < apart.t_ci_high_s


@pytest.mark.parametrize(
    ("pattern", "src", "dst"),
    [("pair", "a:gpu0", "a:gpu1"), ("one_to_all", "a:gpu0", None), ("all_to_one", "a", "a:gpu0")],
)
def test_gpus_of_one_process_are_those_of_the_first_host(pattern, src, dst):
    row = row_of(make_case("peer_copy", pattern=pattern), {0: TEN})
    assert (row.src, row.dst) == (src, dst)


def test_the_statistics_of_ten_known_samples():
    row = row_of(make_case("latency"), {0: TEN})
    assert row.statistic == "median"
    assert row.t_median_s == pytest.approx(5.5e-6)
    # Places 2 and 9 of ten.
    assert row.t_ci_low_s == pytest.approx(2e-6)
    assert row.t_ci_high_s == pytest.approx(9e-6)
    assert (row.t_min_s, row.t_max_s) == (1e-6, pytest.approx(1e-5))
    assert row.t_mean_s == pytest.approx(5.5e-6)
    # Linear between neighbours: 9 + 0.55, 9 + 0.91.
    assert row.t_p95_s == pytest.approx(9.55e-6)
    assert row.t_p99_s == pytest.approx(9.91e-6)
    assert (row.samples, row.outliers) == (10, 0)
    assert (row.loops, row.warmups, row.converged) == (4, 100, 1)


def test_five_samples_have_a_median_and_no_interval():
    row = row_of(make_case("latency"), {0: TEN[:5]})
    assert row.t_median_s == pytest.approx(5e-6)
    assert row.t_ci_low_s is None
    assert row.t_ci_high_s is None


def test_an_outlier_is_counted_and_stays_in_the_tail():
    row = row_of(make_case("latency"), {0: (*[1e-6] * 9, 1.1e-6, 0.9e-6, 1e-3)})
    assert row.outliers == 3  # the spread of the others is 0
    assert row.t_max_s == 1e-3
    assert row.t_median_s == 1e-6


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60))
def test_the_statistics_of_any_samples_are_in_order(samples):
    row = row_of(make_case("latency"), {0: tuple(samples)})
    values = [row.t_min_s, row.t_median_s, row.t_p95_s, row.t_p99_s, row.t_max_s]
    if len(samples) >= 20:
        assert values == sorted(values)
    assert row.t_min_s <= row.t_median_s <= row.t_max_s
    assert row.t_min_s * (1 - 1e-12) <= row.t_mean_s <= row.t_max_s * (1 + 1e-12)
    assert (row.t_ci_low_s is None) == (len(samples) < 6)
    if row.t_ci_low_s is not None:
        assert row.t_min_s <= row.t_ci_low_s <= row.t_median_s <= row.t_ci_high_s <= row.t_max_s


# Over ranks.


def test_what_rank_0_times_is_what_counts_where_it_times_both_ends():
    row = row_of(make_case("latency"), {0: TEN, 1: tuple(10 * t for t in TEN)})
    assert row.rank_agg == "rank0"
    assert row.t_median_s == pytest.approx(5.5e-6)
    assert row.slowest_rank is None


def test_each_sample_is_as_slow_as_the_rank_that_was_slowest_in_it():
    samples = {0: (1.0, 5.0, 2.0), 1: (3.0, 1.0, 2.0), 2: (2.0, 2.0, 9.0)}
    assert aggregate(samples, "max").tolist() == [3.0, 5.0, 9.0]
    assert aggregate(samples, "rank0").tolist() == [1.0, 5.0, 2.0]


def test_the_slowest_rank_is_named_where_all_ranks_count():
    row = row_of(make_case("memcpy", ranks=3), {0: (1.0, 1.0), 1: (3.0, 1.5), 2: (2.0, 1.0)})
    assert row.rank_agg == "max"
    assert row.slowest_rank == 1
    assert row.t_max_s == 3.0


def test_the_slowest_rank_is_named_by_its_own_median_and_not_by_one_spike():
    row = row_of(
        make_case("memcpy", ranks=2), {0: (1.0, 1.0, 1.0, 1.0, 90.0), 1: (2.0, 2.0, 2.0, 2.0, 2.0)}
    )
    assert row.slowest_rank == 1


@given(st.lists(st.lists(st.floats(1e-9, 1e3), min_size=4, max_size=4), min_size=1, max_size=5))
def test_no_rank_is_slower_than_what_its_row_says(ranks):
    samples = {rank: tuple(values) for rank, values in enumerate(ranks)}
    assert np.all(aggregate(samples, "max") >= np.array(ranks))


# Rates, from hand-counted work.


@pytest.mark.parametrize(
    ("case", "rates"),
    [
        # 1e6 bytes in 1 ms; message rates count messages instead.
        (make_case("latency", bytes=10**6), {"gbytes_per_s": 1.0}),
        (make_case("bandwidth", bytes=10**6), {"gbytes_per_s": 1.0}),
        (make_case("bibandwidth", bytes=10**6), {"gbytes_per_s": 2.0}),
        (make_case("message_rate", bytes=8), {"messages_per_s": 1000.0}),
        (make_case("memcpy", bytes=10**6, ranks=2), {"gbytes_per_s": 2.0}),
        (make_case("stream", bytes=10**6, kernel="triad"), {"gbytes_per_s": 3.0}),
        (make_case("matmul", batch=10, n=100, k=500), {"tflops": 1e-3}),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_rates_are_work_over_the_median_and_no_other_is_given(case, rates):
    row = row_of(case, {0: (1e-3,) * 7, 1: (1e-3,) * 7})
    named = ("gbytes_per_s", "busbw_gbytes_per_s", "tflops", "messages_per_s")
    given_rates = {name: getattr(row, name) for name in named if getattr(row, name) is not None}
    assert given_rates == pytest.approx(rates)


@pytest.mark.parametrize("name", sorted(set(MEASUREMENTS) - {"barrier"}))
def test_every_benchmark_has_one_kind_of_rate_or_none(name):
    row = row_of(make_case(name), {0: (1e-3,) * 7})
    values = (row.gbytes_per_s, row.tflops, row.messages_per_s)
    # Bytes that an exchange moves are its strategy's choice: only its time compares. An overlap's
    # time is that of messages and computation together.
    timed = name in ("exchange", "overlap")
    assert len([value for value in values if value is not None]) == (not timed)
    # What a collective makes of its links is told beside its rate.
    assert (row.busbw_gbytes_per_s is not None) == (name in {kind.name for kind in KINDS})


def test_a_barrier_moves_nothing_and_has_no_rate_and_no_bytes():
    row = row_of(make_case("barrier"), {0: TEN, 1: TEN})
    named = ("gbytes_per_s", "busbw_gbytes_per_s", "tflops", "messages_per_s")
    sizes = ("bytes", "bytes_per_rank", "bytes_total")
    assert [getattr(row, name) for name in (*named, *sizes)] == [None] * 7
    assert row.t_median_s is not None


# Columns and params.


def test_the_axes_of_a_product_are_its_columns():
    row = row_of(make_case("matmul", batch=3, n=5, k=7, dtype="fp64", threads=2), {0: TEN})
    assert (row.batch, row.m, row.n, row.k, row.dtype) == (3, 3, 5, 7, "fp64")
    assert row.bytes is None
    assert (row.src_memory, row.dst_memory) == ("host", "host")


def test_the_axes_of_a_pair_are_its_columns():
    row = row_of(make_case("bibandwidth", bytes=4 * 2**20, window=64), {0: TEN, 1: TEN})
    assert (row.bytes, row.window, row.pairs, row.direction) == (4 * 2**20, 16, 1, "bi")
    assert (row.path, row.src_memory, row.dst_memory) == ("direct", "host", "host")
    assert row.bytes_total is None


def test_the_bytes_of_all_ranks_and_of_each_are_told_apart():
    row = row_of(make_case("memcpy", bytes=1000, ranks=2), {0: TEN, 1: TEN})
    assert (row.bytes_per_rank, row.bytes_total, row.ranks) == (1000, 2000, 2)


def test_axes_without_a_column_and_what_the_rank_tells_are_params():
    case = make_case("stream", kernel="add")
    row = row_of(case, {0: TEN}, params={"overhead_ns": 40, "blas": "x"})
    assert row.params == "blas=x;kernel=add;overhead_ns=40"
    assert parse_params(row.params) == {"blas": "x", "kernel": "add", "overhead_ns": "40"}


def test_threads_are_those_that_the_rank_used_and_not_those_it_was_asked_for():
    row = row_of(make_case("matmul", threads=0), {0: TEN}, params={"threads": 6})
    assert parse_params(row.params)["threads"] == "6"


def test_a_pair_is_named_by_its_two_ends_and_other_work_by_its_host():
    pair = row_of(make_case("latency"), {0: TEN}, facts(("a", (0,)), ("a", (1,)), ("b", (0,))))
    assert (pair.src, pair.dst) == ("a:rank0", "b:rank2")
    alone = row_of(make_case("memcpy"), {0: TEN}, facts(("a", (0,))))
    assert (alone.src, alone.dst) == ("a", None)


def test_nodes_and_ranks_of_a_node_are_counted():
    row = row_of(make_case("memcpy"), {0: TEN}, facts(("a", (0,)), ("a", (1,)), ("b", (0,))))
    assert (row.nodes, row.ranks_per_node) == (2, 2)
    assert row.thread_level == "single"


@pytest.mark.parametrize(
    ("ranks", "binding", "oversubscribed"),
    [
        ([("a", (0,)), ("a", (1,))], "core", False),
        ([("a", (0, 1)), ("a", (0, 1))], "none", False),
        ([("a", (0, 1))] * 3, "none", True),
        ([("a", (0,)), ("a", (0,))], "core", True),
        # One host is full, the other is not.
        ([("a", (0,)), ("a", (0,)), ("b", (0, 1, 2))], "none", True),
        # The same core numbers on two hosts are different cores.
        ([("a", (0,)), ("b", (0,))], "core", False),
    ],
)
def test_ranks_that_outnumber_their_cores_are_flagged(ranks, binding, oversubscribed):
    row = row_of(make_case("memcpy"), {0: TEN}, facts(*ranks))
    assert row.binding == binding
    assert ("oversubscribed" in parse_params(row.params)) == oversubscribed


@pytest.mark.parametrize(("quota", "oversubscribed"), [(None, False), (2.0, False), (1.5, True)])
def test_ranks_that_outnumber_what_a_quota_pays_for_are_flagged(quota, oversubscribed):
    told = facts(("a", (0,)), ("a", (1,)), ("b", (0,)))
    told = msgspec.structs.replace(told, nodes={"a": {"cpu": {"quota_cores": quota}}, "b": {}})
    row = row_of(make_case("memcpy"), {0: TEN}, told)
    assert ("oversubscribed" in parse_params(row.params)) == oversubscribed


@pytest.mark.parametrize(
    ("ranks", "warned"),
    [
        ([("a", (0,)), ("a", (0,))], [(0, 1)]),
        ([("a", (0,)), ("a", (1,)), ("a", (1,))], [(1, 2)]),
        ([("a", (0,)), ("b", (0,))], []),
        ([("a", (0, 1)), ("a", (0, 1))], []),
    ],
)
def test_two_ranks_bound_to_one_core_are_warned_of(ranks, warned):
    findings = placement_findings(facts(*ranks))
    assert [finding.name for finding in findings] == ["shared-core"] * len(warned)
    for finding, (one, other) in zip(findings, warned, strict=True):
        assert f"ranks {one} and {other}" in finding.text


# What was not measured.


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_skipped_case_has_its_axes_and_reason_and_no_number(name):
    case = make_case(name)
    ended = CaseEnded(case=case.id, status=Status.SKIPPED, reason="no GPU here")
    row = make_row(place(case), case, ended, {}, None, None)
    assert (row.status, row.reason) == (Status.SKIPPED, "no GPU here")
    assert row.ranks == case.axes["ranks"]
    for column in Row.__struct_fields__:
        if column.startswith(("t_", "gbytes", "busbw", "tflops", "messages", "samples")):
            assert getattr(row, column) is None
    assert row.nodes is None
    assert row.started_utc is None


def test_a_wrong_answer_keeps_its_times_and_never_a_rate():
    row = row_of(
        make_case("bandwidth"),
        {0: TEN},
        status=Status.FAILED,
        reason="wrong answer: 1 of 4096 bytes checked",
        bytes_checked=4096,
        bytes_wrong=1,
    )
    assert row.status is Status.FAILED
    assert (row.bytes_checked, row.bytes_wrong) == (4096, 1)
    assert row.t_median_s is not None
    assert row.gbytes_per_s is None


def test_a_case_that_was_wrong_before_it_was_timed_has_no_times():
    row = row_of(make_case("bandwidth"), {}, status=Status.FAILED, reason="wrong", loops=None)
    assert row.t_median_s is None
    assert row.statistic is None


def test_a_row_without_facts_guesses_no_place():
    row = row_of(make_case("latency"), {0: TEN}, None)
    assert (row.nodes, row.src, row.dst, row.binding, row.thread_level) == (None,) * 5
