"""What must cross between nodes, against values worked out by hand and against algorithms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.datasheet.collectives import ALGORITHMS, GATHERS, Cluster, bound
from bench.predict.model.datasheet.cores import flop_per_cycle, units_of
from bench.predict.model.datasheet.cuts import OPERATIONS, crossing, crossing_s

COUNTS = st.lists(st.integers(1, 8), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("operation", "most", "formula"),
    [
        # Two nodes with 3 and 1 ranks, blocks of 100 bytes.
        ("all-reduce", (100, 100), "2 (n - 1) / n m"),
        ("reduce", (100, 100), "m"),
        ("broadcast", (100, 100), "m"),
        # Node 0 lacks one block and has three that node 1 lacks; a node sends and receives at once.
        ("all-gather", (300, 300), "(p - g) s"),
        # Node 0 sends one sum, for the block of node 1, and receives three.
        ("reduce-scatter", (300, 300), "(p - g) s"),
        # Three ranks to one and back.
        ("all-to-all", (300, 300), "g (p - g) s"),
        # The root, on node 0, keeps three of four blocks in its node.
        ("scatter", (100, 100), "(p - g) s"),
        ("gather", (100, 100), "(p - g) s"),
    ],
)
def test_two_unequal_nodes_by_hand(operation, most, formula):
    moved = crossing(operation, [3, 1], 100)
    assert moved.most == most
    assert moved.formula == formula


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [
        # Four nodes of two ranks, 1 MB, 100 MB/s.
        ("all-reduce", 2 * 3 / 4 * 0.01),
        ("reduce", 0.01),
        ("broadcast", 0.01),
        ("all-gather", 6 * 0.01),
        ("reduce-scatter", 6 * 0.01),
        ("all-to-all", 2 * 6 * 0.01),
        ("scatter", 6 * 0.01),
        ("gather", 6 * 0.01),
    ],
)
def test_four_equal_nodes_by_hand(operation, seconds):
    assert crossing_s(crossing(operation, [2] * 4, 1e6), [1e8] * 4) == pytest.approx(seconds)


def test_switches_that_add_up_leave_each_byte_once():
    assert crossing_s(crossing("all-reduce", [2] * 4, 1e6, True), [1e8] * 4) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("operation", "seconds"),
    # A quarter of the calls begins on a node: it sends to 6 ranks then, and else receives for 2.
    [("broadcast", 0.75 * 0.01), ("scatter", 1.5 * 0.01), ("gather", 1.5 * 0.01)],
)
def test_roots_that_rotate_share_the_load(operation, seconds):
    moved = crossing(operation, [2] * 4, 1e6, rotating=True)
    assert crossing_s(moved, [1e8] * 4) == pytest.approx(seconds)


def test_one_slow_node_holds_all_up():
    moved = crossing("all-gather", [1, 1, 1], 1e6)
    assert crossing_s(moved, [1e8, 1e8, 1e7]) == pytest.approx(0.2)
    # 2 (n - 1) m over all links together, but the slow one has to carry m alone.
    moved = crossing("all-reduce", [1, 1, 1], 1e6)
    assert crossing_s(moved, [1e8, 1e8, 1e7]) == pytest.approx(0.1)


@given(st.sampled_from(OPERATIONS), st.integers(1, 64), st.floats(0, 1e12))
def test_one_node_sends_nothing(operation, ranks, part):
    assert crossing(operation, [ranks], part).most == (0.0,)


@given(
    st.sampled_from(OPERATIONS),
    COUNTS,
    st.floats(0, 1e12),
    st.floats(1, 10),
    st.booleans(),
    st.floats(0, 1e6),
)
def test_more_bytes_never_take_less_and_a_burst_never_more(
    operation, counts, part, more, rotating, burst
):
    def seconds(size: float, burst: float = 0.0) -> float:
        moved = crossing(operation, counts, size, rotating=rotating)
        return crossing_s(moved, [1e9] * len(counts), [burst] * len(counts))

    assert seconds(part) <= seconds(part * more) * (1 + 1e-12)
    assert seconds(part, burst) <= seconds(part)


@given(st.sampled_from(OPERATIONS), COUNTS, st.floats(1, 1e9))
def test_roots_that_rotate_and_switches_that_add_up_only_lower_a_bound(operation, counts, part):
    rates = [1e9] * len(counts)
    fixed = crossing_s(crossing(operation, counts, part), rates)
    for in_switch, rotating in ((True, False), (False, True)):
        moved = crossing(operation, counts, part, in_switch, rotating)
        assert crossing_s(moved, rates) <= fixed * (1 + 1e-12)


@given(st.integers(2, 16), st.integers(1, 8), st.floats(1, 1e9))
def test_no_algorithm_beats_the_cut(nodes, gpus, size):
    cluster = Cluster(nodes, gpus, 1e9)
    rates = [1e9] * nodes
    reduce_s = crossing_s(crossing("all-reduce", [gpus] * nodes, size), rates)
    assert reduce_s == pytest.approx(bound(cluster, size).seconds)
    for algorithm in ALGORITHMS.values():
        time = algorithm(cluster, size)
        assert reduce_s <= (time.seconds if time.low_s is None else time.low_s) * (1 + 1e-9)
    gather_s = crossing_s(crossing("all-gather", [gpus] * nodes, size / cluster.ranks), rates)
    for gather in GATHERS.values():
        time = gather(cluster, size, "all-gather")
        assert gather_s <= (time.seconds if time.low_s is None else time.low_s) * (1 + 1e-9)


@given(COUNTS, st.floats(1, 1e6), st.data())
def test_no_plain_plan_of_messages_beats_the_cut(counts, part, data):
    """Whatever is sent from rank to rank directly, the busiest node carries the cut at least."""
    node_of = [node for node, count in enumerate(counts) for _ in range(count)]
    ranks = range(len(node_of))
    plans = {
        "all-to-all": [(a, b) for a in ranks for b in ranks],
        "all-gather": [(a, b) for a in ranks for b in ranks],
        "scatter": [(0, b) for b in ranks],
        "gather": [(a, 0) for a in ranks],
        "broadcast": [(0, b) for b in ranks],
        "reduce": [(a, 0) for a in ranks],
        "reduce-scatter": [(a, b) for a in ranks for b in ranks],
    }
    operation = data.draw(st.sampled_from(sorted(plans)))
    out, into = [0.0] * len(counts), [0.0] * len(counts)
    for source, target in plans[operation]:
        if node_of[source] != node_of[target]:
            out[node_of[source]] += part
            into[node_of[target]] += part
    least = max(crossing(operation, counts, part).most)
    assert least <= max(*out, *into) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("simd", "fp32"),
    [
        (("avx", "avx2", "fma", "avx512f"), 64),
        (("sse4_2", "avx", "avx2", "fma"), 32),
        (("sse4_2", "avx", "avx2"), 16),
        (("sse4_2",), 8),
        (("asimd",), 32),
        # How long vectors are is not told.
        (("asimd", "sve"), None),
        ((), None),
    ],
)
def test_the_units_of_a_core_follow_from_its_extensions(simd, fp32):
    units = units_of(simd)
    assert (units and flop_per_cycle(units, "fp32")) == fp32
    if units is not None:
        assert flop_per_cycle(units, "fp64") == flop_per_cycle(units, "fp32") // 2
        assert flop_per_cycle(units, "fp16") is None
