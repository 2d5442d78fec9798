"""Samples that fall into clusters, turned through one by one: the first, the second, and so on.

Samples of one cluster have something in common, such as the pages that their buffers lie in, which
the next launch draws anew. However many samples are taken, so much stays unknown.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bench.core.orderstats import median_interval

Times = NDArray[np.float64]

_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
)  # fmt: skip
"""97.5 % quantiles of Student's distribution of 1 and more degrees of freedom."""
MOST_CLUSTERS = len(_STUDENT) + 1


def cluster_medians(samples: Times, clusters: int) -> Times:
    """Return the median of each cluster; sample i is of cluster i modulo `clusters`."""
    return np.array([np.median(samples[i::clusters]) for i in range(min(clusters, len(samples)))])


def cluster_spread(samples: Times, clusters: int) -> float:
    """Return the largest less the smallest median of a cluster, over the median of all samples."""
    medians = cluster_medians(samples, clusters)
    return float((medians.max() - medians.min()) / np.median(samples))


def level_clusters(samples: Times, clusters: int) -> Times:
    """Return samples of which each cluster is scaled to the median of all."""
    if clusters < 2:
        return samples
    level = np.array(samples, dtype=np.float64)
    middle = np.median(samples)
    for i, median in enumerate(cluster_medians(samples, clusters)):
        if median > 0:
            level[i::clusters] *= middle / median
    return level


def clustered_interval(samples: Times, clusters: int) -> tuple[float, float] | None:
    """Return where another draw of as many clusters has its median, with 95 %; None below six.

    Never narrower than the interval of the median from the samples alone. The medians of clusters
    count as draws from one distribution of logarithms: the difference of two means of K of them
    has the variance 2 s^2 / K, with K - 1 degrees of freedom.

    Args:
        samples: in the order in which they were taken, all above 0.
        clusters: at most MOST_CLUSTERS; of one nothing is known beyond its samples.
    """
    interval = median_interval(np.sort(samples))
    if interval is None or clusters < 2:
        return interval
    medians = np.log(cluster_medians(samples, clusters))
    deviation = float(np.std(medians, ddof=1))
    reach = math.exp(_STUDENT[len(medians) - 2] * deviation * math.sqrt(2 / len(medians)))
    middle = float(np.median(samples))
    return min(interval[0], middle / reach), max(interval[1], middle * reach)
