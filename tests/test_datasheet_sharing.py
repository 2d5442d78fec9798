"""Sharing: fair and in turn, both directions, and physics that no order breaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.datasheet.sharing import (
    Flow,
    Resource,
    fair_rates,
    finish_fairly,
    finish_in_turn,
    shared_seconds,
)

NIC = {"nic": Resource(5e9)}
OUT, IN = (("nic", "out"),), (("nic", "in"),)


@st.composite
def fabrics(draw):
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    resources = {
        name: Resource(rate, draw(st.none() | st.floats(rate, 2 * rate)))
        for name, rate in ((name, draw(st.floats(1e6, 1e9))) for name in names)
    }
    crossing = st.lists(
        st.tuples(st.sampled_from(names), st.sampled_from(["out", "in"])),
        min_size=1,
        max_size=3,
        unique_by=lambda crossed: crossed[0],
    )
    flows = [
        Flow(draw(st.floats(0, 1e9)), tuple(draw(crossing)), draw(st.floats(1e6, 1e9)))
        for _ in range(draw(st.integers(1, 5)))
    ]
    return flows, resources


def test_the_posts_three_senders_end_together_or_at_thirds():
    flows = [Flow(12e6, OUT)] * 3
    assert finish_fairly(flows, NIC) == pytest.approx([7.2e-3] * 3)
    assert finish_in_turn(flows, NIC) == pytest.approx([2.4e-3, 4.8e-3, 7.2e-3])


def test_a_short_flow_leaves_its_share_to_the_long_one():
    assert finish_fairly([Flow(5e9, OUT), Flow(10e9, OUT)], NIC) == pytest.approx([2, 3])


def test_directions_share_nothing_unless_the_link_says_so():
    flows = [Flow(5e9, OUT), Flow(5e9, IN)]
    assert finish_fairly(flows, NIC) == pytest.approx([1, 1])
    assert finish_fairly(flows, {"nic": Resource(5e9, both_rate=5e9)}) == pytest.approx([2, 2])
    assert finish_fairly(flows, {"nic": Resource(5e9, both_rate=8e9)}) == pytest.approx([1.25] * 2)


def test_who_is_held_back_elsewhere_leaves_the_rest():
    # Bertsekas and Gallager: the flow over the slow link gets half of it, the others what is left.
    resources = {"slow": Resource(2.0), "fast": Resource(10.0)}
    slow, fast = ("slow", "out"), ("fast", "out")
    flows = [Flow(1, (slow,)), Flow(1, (slow, fast)), Flow(1, (fast,))]
    assert fair_rates(flows, resources) == pytest.approx([1, 1, 9])


@pytest.mark.parametrize(("senders", "seconds"), [(0, 0), (1, 1 / 3), (2, 0.4), (3, 0.6)])
def test_the_max_rate_model_turns_where_the_resource_is_full(senders, seconds):
    assert shared_seconds(1e9, senders, 5e9, 3e9) == pytest.approx(seconds)


@given(fabrics())
def test_no_resource_carries_more_than_it_can(fabric):
    flows, resources = fabric
    rates = fair_rates(flows, resources)
    for name, resource in resources.items():
        by_way = {
            way: sum(r for r, f in zip(rates, flows, strict=True) if (name, way) in f.crosses)
            for way in ("out", "in")
        }
        assert max(by_way.values()) <= resource.rate * (1 + 1e-9)
        if resource.both_rate is not None:
            assert sum(by_way.values()) <= resource.both_rate * (1 + 1e-9)


@given(fabrics())
def test_every_flow_is_at_its_own_rate_or_the_fastest_through_something_full(fabric):
    flows, resources = fabric
    rates = fair_rates(flows, resources)
    limits = {}
    for name, resource in resources.items():
        limits[name, ("out",)] = limits[name, ("in",)] = resource.rate
        limits[name, ("out", "in")] = resource.both_rate or float("inf")
    through = {
        (name, ways): [i for i, f in enumerate(flows) for way in ways if (name, way) in f.crosses]
        for name, ways in limits
    }
    for i, flow in enumerate(flows):
        held = any(
            i in users
            and sum(rates[j] for j in users) == pytest.approx(limits[key])
            and rates[i] >= max(rates[j] for j in users) * (1 - 1e-9)
            for key, users in through.items()
        )
        assert held or rates[i] == pytest.approx(flow.rate)


@given(fabrics())
def test_fair_never_ends_after_in_turn(fabric):
    flows, resources = fabric
    fair, turns = finish_fairly(flows, resources), finish_in_turn(flows, resources)
    assert max(fair) <= max(turns) * (1 + 1e-9)


@given(fabrics(), st.floats(1, 10))
def test_more_bandwidth_never_costs_more_in_turn_and_more_bytes_never_less(fabric, times):
    flows, resources = fabric
    ends = finish_in_turn(flows, resources)
    wider = {
        n: Resource(r.rate * times, None if r.both_rate is None else r.both_rate * times)
        for n, r in resources.items()
    }
    assert finish_in_turn(flows, wider)[-1] <= ends[-1] * (1 + 1e-9)
    more = [Flow(f.size * times, f.crosses, f.rate) for f in flows]
    assert max(finish_fairly(more, resources)) >= max(finish_fairly(flows, resources)) * (1 - 1e-9)
