"""Samples in clusters: the interval holds what another draw of clusters shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.clusters import (
    MOST_CLUSTERS,
    cluster_spread,
    clustered_interval,
    level_clusters,
)
from bench.core.orderstats import median_interval, relative_half_width

DRAWS = 1500


def launch(random, clusters: int, between: float, within: float, samples: int = 32):
    """Return samples of which each cluster has drawn a level of its own, by logarithms."""
    levels = between * random.standard_normal(clusters)
    numbers = np.arange(samples) % clusters
    return np.exp(levels[numbers] + within * random.standard_normal(samples))


def held(clusters: int, between: float, within: float, interval) -> float:
    """Return the share of launches whose interval holds the median of another launch."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(DRAWS):
        low, high = interval(launch(random, clusters, between, within))
        inside += low <= np.median(launch(random, clusters, between, within)) <= high
    return inside / DRAWS


@pytest.mark.parametrize("clusters", [2, 3, 4, 8])
@pytest.mark.parametrize("between", [0.03, 0.2])
def test_the_interval_holds_the_next_launch_about_as_often_as_it_says(clusters, between):
    share = held(clusters, between, 0.01, lambda samples: clustered_interval(samples, clusters))
    assert share >= 0.92
    # The interval of the samples alone is blind to what all samples of a cluster share.
    assert held(clusters, between, 0.01, lambda s: median_interval(np.sort(s))) < 0.8


def test_where_clusters_are_alike_the_interval_is_no_promise_of_difference():
    random = np.random.default_rng(2)
    widths = []
    for _ in range(200):
        samples = launch(random, 4, 0.0, 0.01, 120)
        low, high = clustered_interval(samples, 4)
        widths.append(high / low - 1)
    assert np.median(widths) < 0.02


def test_of_one_cluster_nothing_is_known_beyond_its_samples():
    samples = launch(np.random.default_rng(3), 4, 0.2, 0.01)
    assert clustered_interval(samples, 1) == median_interval(np.sort(samples))


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_samples_have_no_interval(n):
    assert clustered_interval(np.ones(n), 4) is None


seeds = st.integers(0, 2**30)


@given(seeds, st.integers(2, MOST_CLUSTERS), st.integers(6, 80))
def test_the_interval_holds_the_median_and_that_of_the_samples(seed, clusters, count):
    samples = launch(np.random.default_rng(seed), clusters, 0.1, 0.02, count)
    low, high = clustered_interval(samples, clusters)
    alone = median_interval(np.sort(samples))
    assert low <= alone[0] <= np.median(samples) <= alone[1] <= high
    assert low > 0


@given(seeds, st.floats(1.2, 5))
def test_clusters_that_lie_further_apart_make_a_wider_interval(seed, factor):
    random = np.random.default_rng(seed)
    levels = 0.1 * random.standard_normal(4)
    near, far = (np.exp(np.tile(scale * levels, 10)) for scale in (1.0, factor))
    ratios = [np.divide(*reversed(clustered_interval(samples, 4))) for samples in (near, far)]
    assert ratios[1] >= ratios[0]
    assert cluster_spread(far, 4) >= 0


def test_more_clusters_make_a_narrower_interval():
    random = np.random.default_rng(4)
    width = {
        clusters: np.median(
            [
                np.divide(
                    *reversed(clustered_interval(launch(random, clusters, 0.1, 0.01), clusters))
                )
                for _ in range(300)
            ]
        )
        for clusters in (2, 4, 8)
    }
    assert width[2] > width[4] > width[8]


@given(seeds, st.floats(1e-9, 1e3))
def test_the_unit_of_time_changes_nothing(seed, unit):
    samples = launch(np.random.default_rng(seed), 4, 0.1, 0.02)
    ends = np.array(clustered_interval(samples, 4))
    assert np.array(clustered_interval(unit * samples, 4)) == pytest.approx(unit * ends)
    assert cluster_spread(unit * samples, 4) == pytest.approx(cluster_spread(samples, 4))


def test_the_spread_is_from_the_fastest_cluster_to_the_slowest_over_the_median():
    samples = np.array([1.0, 2.0, 3.0, 6.0] * 5)
    assert cluster_spread(samples, 4) == pytest.approx(5 / 2.5)
    assert cluster_spread(samples, 1) == 0


@given(seeds, st.integers(1, 8))
def test_levelled_samples_keep_their_scatter_and_lose_what_their_clusters_differ_in(seed, clusters):
    samples = launch(np.random.default_rng(seed), clusters, 0.3, 0.01, 40)
    level = level_clusters(samples, clusters)
    assert cluster_spread(level, clusters) == pytest.approx(0, abs=1e-9)
    assert relative_half_width(level) < 0.02
