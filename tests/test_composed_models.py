"""Composed models: known truths recovered from noisy messages, limits, and what no link can be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.composed.algorithms import CANDIDATES
from bench.predict.model.composed.exchange import UNKNOWN, compose, compose_library
from bench.predict.model.composed.fabric import Fabric
from bench.predict.model.composed.path import MessagePath, SendersPoint, alarms, fit_path
from bench.predict.model.datasheet.collectives import Cluster, bound, hierarchical, naive, ring

ALPHA_S, OWN, SHARED, INSIDE = 20e-6, 4e7, 5e7, 5e9
SIZES = [float(2**power) for power in range(0, 25, 2)]
ALL_REDUCES = (*CANDIDATES["all-reduce"], "naive", "naive-at-once")
LAYOUTS = [(0, 0), (0, 1), (0, 0, 0, 1, 1, 1), (0, 0, 1, 1, 2, 2, 3, 3), (0, 1, 0, 1), (0, 1, 2)]


def path(
    alpha_s: float, own: float, shared: float, sigma: float = 0.0, seed: int = 0
) -> MessagePath:
    """Fit a path on messages of a known truth, with relative noise."""
    random = np.random.default_rng(seed)

    def noisy(seconds: float) -> float:
        return seconds * math.exp(sigma * random.standard_normal())

    alone = [noisy(alpha_s + size / own) for size in SIZES]
    together = alpha_s + 3 * 2**20 / min(shared, 3 * own)
    return fit_path(SIZES, alone, SendersPoint(3, 2**20, noisy(together)))


def fabric(nodes: tuple[int, ...], alpha_s: float = ALPHA_S, shared: float = OWN) -> Fabric:
    return Fabric(nodes, path(alpha_s / 10, INSIDE, INSIDE), path(alpha_s, OWN, shared))


@pytest.mark.parametrize("seed", range(5))
def test_more_senders_are_told_from_one_point_of_three(seed):
    fitted = path(ALPHA_S, OWN, SHARED, 0.01, seed)
    assert fitted.own_rate == pytest.approx(OWN, rel=0.03)
    assert fitted.shared_rate == pytest.approx(SHARED, rel=0.05)
    for senders in (1, 2, 4, 8):
        for size in (3e3, 3e5, 3e6):
            truth = ALPHA_S + senders * size / min(SHARED, senders * OWN)
            assert fitted.seconds(size, senders) == pytest.approx(truth, rel=0.06)


def test_a_link_that_was_not_filled_is_no_faster_than_what_its_senders_sent():
    fitted = path(ALPHA_S, OWN, 100 * OWN)
    assert fitted.shared_rate == pytest.approx(3 * OWN, rel=1e-3)


def test_without_a_point_of_several_senders_one_fills_the_link():
    fitted = fit_path(SIZES, [ALPHA_S + size / OWN for size in SIZES])
    assert fitted.seconds(2**20, 3) == pytest.approx(ALPHA_S + 3 * 2**20 / OWN, rel=1e-3)


@given(st.floats(1, 2**26), st.integers(1, 64), st.floats(1.0, 16.0))
def test_time_rises_with_size_and_senders_and_never_beats_the_link(size, senders, more):
    fitted = path(ALPHA_S, OWN, SHARED)
    seconds = fitted.seconds(size, senders)
    assert fitted.seconds(size * more, senders) >= seconds * (1 - 1e-9)
    assert fitted.seconds(size, senders + 1) >= seconds
    assert seconds >= senders * size / SHARED * (1 - 0.01)


def test_first_bytes_that_pass_at_once_do_not_tilt_the_rate():
    burst = 11_000.0
    seconds = [ALPHA_S + max(size / INSIDE, (size - burst) / OWN) for size in SIZES]
    together = ALPHA_S + (3 * 2**20 - burst) / OWN
    fitted = fit_path(SIZES, seconds, SendersPoint(3, 2**20, together))
    assert fitted.own_rate == pytest.approx(OWN, rel=0.002)
    assert fitted.seconds(2**19, 2) == pytest.approx((2 * 2**19 - burst) / OWN, rel=0.01)
    assert any("no latency above 0" in alarm for alarm in alarms(fitted))


def test_nothing_to_send_takes_no_time():
    assert path(ALPHA_S, OWN, SHARED).seconds(0, 3) == 0
    assert path(ALPHA_S, OWN, SHARED).seconds(8, 0) == 0


def test_flat_messages_give_no_rate():
    with pytest.raises(ValueError, match="no rate"):
        fit_path(SIZES, [1e-5] * len(SIZES))


def test_a_group_faster_than_one_message_is_refused():
    seconds = [1e-3 + size / OWN for size in SIZES]
    with pytest.raises(ValueError, match="less than the latency of one"):
        fit_path(SIZES, seconds, SendersPoint(3, 1024.0, 1e-4))


def test_what_no_link_can_be_is_an_alarm():
    sound = path(ALPHA_S, OWN, SHARED)
    assert alarms(sound, fastest=SHARED) == []
    (too_fast,) = alarms(sound, fastest=SHARED / 1.1)
    assert "all senders together" in too_fast
    hollow = fit_path(SIZES, [max(1e-9, size**1.3 / OWN) for size in SIZES])
    assert any("no latency above 0" in alarm for alarm in alarms(hollow))


@pytest.mark.parametrize("nodes", LAYOUTS)
@pytest.mark.parametrize("algorithm", ALL_REDUCES)
def test_brackets_hold_and_no_time_is_below_the_bound_of_its_rates(nodes, algorithm):
    cluster = Cluster(len(set(nodes)), len(nodes) // len(set(nodes)), OWN, INSIDE)
    for size in (8.0, 1e4, 1e6, 1e7):
        found = compose(fabric(nodes), size, algorithm)
        assert found.low_s <= found.seconds <= found.high_s
        assert found.seconds >= 0.98 * bound(cluster, size).seconds


@pytest.mark.parametrize("algorithm", ALL_REDUCES)
def test_more_bytes_never_take_less_time(algorithm):
    times = [compose(fabric((0, 0, 0, 1, 1, 1)), m, algorithm).seconds for m in SIZES]
    assert times == sorted(times)


@pytest.mark.parametrize("algorithm", ALL_REDUCES)
def test_one_rank_or_nothing_to_add_exchanges_nothing(algorithm):
    alone = Fabric((0,), None, None)
    assert compose(alone, 1e6, algorithm).seconds == 0
    assert compose(fabric((0, 1)), 0, algorithm).seconds == 0


@pytest.mark.parametrize(
    ("name", "formula"), [("naive", naive), ("ring", ring), ("hierarchical", hierarchical)]
)
def test_large_messages_take_what_the_rates_alone_say(name, formula):
    nodes, size = (0, 0, 0, 1, 1, 1), 3e7
    truth = formula(Cluster(2, 3, OWN, None), size).seconds
    assert compose(fabric(nodes), size, name).seconds == pytest.approx(truth, rel=0.05)


def test_the_naive_exchange_of_the_posts_is_nine_messages_through_each_link():
    rate = 47e6
    link = path(1e-9, rate, rate)
    posts = Fabric((0, 0, 0, 1, 1, 1), path(1e-9, 1e12, 1e12), link)
    expected = 9 * 4e6 / rate
    assert compose(posts, 4e6, "naive").seconds == pytest.approx(expected, rel=0.01)
    assert compose(posts, 4e6, "naive-at-once").seconds == pytest.approx(expected, rel=0.01)


def test_small_messages_take_their_latency_once_a_round():
    found = compose(fabric((0, 1, 2, 3)), 1, "ring")
    assert found.seconds == pytest.approx(6 * ALPHA_S, rel=0.01)
    found = compose(fabric((0, 1, 2, 3)), 1, "recursive-doubling")
    assert found.seconds == pytest.approx(2 * ALPHA_S, rel=0.01)


def test_parts_that_meet_another_protocol_are_timed_at_their_own_size():
    seconds = [ALPHA_S + size / OWN + (5e-3 if size < 2**16 else 0) for size in SIZES]
    slow_below = fit_path(SIZES, seconds[:8] + [ALPHA_S * 300 + s / OWN for s in SIZES[8:]])
    two = Fabric((0, 1, 2, 3), None, slow_below)
    assert compose(two, 2**14, "ring").seconds > 6 * 4.9e-3


def test_the_librarys_choice_is_said_to_be_unknown():
    found = compose_library(fabric((0, 0, 0, 1, 1, 1)), 4e6, "all-reduce")
    assert UNKNOWN in found.formula
    assert found.low_s < found.seconds < found.high_s


def test_adding_up_comes_on_top():
    nodes = (0, 1)
    free, slow = fabric(nodes), fabric(nodes)
    slow = Fabric(nodes, slow.inside, slow.across, added_rate=1e6)
    extra = compose(slow, 1e6, "ring").seconds - compose(free, 1e6, "ring").seconds
    assert extra == pytest.approx(0.5)


def test_a_path_that_was_not_measured_is_named():
    with pytest.raises(ValueError, match="inside a node"):
        compose(Fabric((0, 0), None, path(ALPHA_S, OWN, OWN)), 1e6, "ring")
