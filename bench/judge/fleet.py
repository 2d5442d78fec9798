"""Nodes and GPUs that did the same work beside each other, and those that are slower than the rest.

Two times of each are looked at: the median of its samples, and their mean. A share of the CPUs that
a quota holds back, or a clock that drops now and then, leaves most samples as they were: only the
mean shows it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Literal, NamedTuple

from bench.core.hostnames import fold_hosts, host_of
from bench.core.records import About, Finding, Row, Status
from bench.measure.profiles import profile_of

SLOWER = "node-is-slower"
LEAST_PLACES = 3
"""Of two nobody knows which one is odd."""
LEAST_OFF = 0.1
"""Share by which a place must be slower, however little the others scatter."""
FALSE_ALARMS = 0.01
"""Share of fleets of like places, scattered as a normal distribution is, in which one is named."""
LEAST_ROBUST = 11
"""Others from which on the scatter is the scaled median absolute deviation, which several odd
ones leave as it is. That of fewer is too coarse: theirs is the standard deviation, behind which a
second odd one may hide."""
_NORMAL = 1.4826
"""Times the median absolute deviation, the standard deviation of a normal distribution."""
_COARSE = 14.0
"""Of the scaled median absolute deviation of n others, 1 + 14 / n times the limit of a normal
distribution keeps to the share of false alarms: simulated for 11 to 1000 others."""
MOST_NAMED = 12

Time = Literal["median", "mean"]
_TIMES: tuple[Time, Time] = ("median", "mean")


class Point(NamedTuple):
    """What one place took for one case in one launch."""

    place: str
    """HOST, or HOST:gpuN."""
    case: str
    launch: int
    median_s: float
    mean_s: float


class Standing(NamedTuple):
    """One place beside all others, in one of its times."""

    place: str
    ratio: float
    """Its time over that of the middle place, the median over its cases and launches."""
    limit: float
    """What the others' scatter allows; a place above it is slower than they are."""

    @property
    def is_slower(self) -> bool:
        """Whether it stands out."""
        return self.ratio > self.limit


def compare_places(points: Iterable[Point], which: Time) -> list[Standing]:
    """Return how each place stands in cases that all are of one kind, the slowest first.

    None where there are fewer than three places.
    """
    cases = _by_case(points, which)
    found = _relative(cases)
    if len(found) < LEAST_PLACES:
        return []
    limits = _limits([*found.values()])
    if len(found) <= LEAST_ROBUST:
        limits = [min(pair) for pair in zip(limits, _rank_limits(cases, found), strict=True)]
    standings = [
        Standing(place, math.exp(value), math.exp(limit))
        for (place, value), limit in zip(found.items(), limits, strict=True)
    ]
    return sorted(standings, key=lambda one: (-one.ratio, one.place))


def _by_case(points: Iterable[Point], which: Time) -> list[dict[str, float]]:
    """Return for each case and launch what each place took, in seconds."""
    cases: dict[tuple[str, int], dict[str, float]] = {}
    for point in points:
        seconds = point.median_s if which == "median" else point.mean_s
        cases.setdefault((point.case, point.launch), {})[point.place] = seconds
    return list(cases.values())


def _relative(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return by place the logarithm of its time over the middle one, the median over its cases."""
    ratios: dict[str, list[float]] = {}
    for times in cases:
        if len(times) < LEAST_PLACES:
            continue
        # Not the middle one: of an odd number it would be level with itself whatever it scatters.
        centre = fmean(math.log(seconds) for seconds in times.values())
        for place, seconds in times.items():
            ratios.setdefault(place, []).append(math.log(seconds) - centre)
    found = {place: median(values) for place, values in ratios.items()}
    middle = median(found.values()) if found else 0.0
    return {place: value - middle for place, value in found.items()}


def _limits(values: Sequence[float]) -> list[float]:
    """Return for each value the logarithm above which its place is slower than the others."""
    # Only where findings are made: commands that print a plan have no use for it.
    from scipy.special import ndtri, stdtrit

    least = math.log1p(LEAST_OFF)
    count = len(values) - 1
    tail = 1 - FALSE_ALARMS / len(values)
    if count >= LEAST_ROBUST:
        # One value more or less leaves these as they are, so that they serve for all places.
        centre = median(values)
        scatter = _NORMAL * median(abs(value - centre) for value in values)
        limit = centre + scatter * float(ndtri(tail)) * (1 + _COARSE / count)
        return [max(least, limit)] * len(values)
    # What the standard deviation of so few says of one more (Grubbs, 1950).
    factor = float(stdtrit(count - 1, tail)) * math.sqrt(1 + 1 / count)
    limits = []
    for place in range(len(values)):
        others = [*values[:place], *values[place + 1 :]]
        limits.append(max(least, fmean(others) + stdev(others) * factor))
    return limits


def _rank_limits(cases: Iterable[Mapping[str, float]], found: Mapping[str, float]) -> list[float]:
    """Return for each place the logarithm above which it is slower, by how often it came last.

    Of few places the scatter is hardly known, but in how many cases and launches one came last is:
    of N that are alike each does as often as a binomial of 1 / N says. One that did more often has
    to be beyond the slowest other by the least share; for all others there is no such limit.
    """
    from scipy.special import bdtrc

    whole = [times for times in cases if len(times) == len(found)]
    last = Counter(max(times, key=times.__getitem__) for times in whole)
    limits = []
    for place in found:
        # That it, or any of the others, is the slowest at least so often.
        chance = len(found) * float(bdtrc(last[place] - 1, len(whole), 1 / len(found)))
        if last[place] == 0 or chance > FALSE_ALARMS / 10:
            limits.append(math.inf)
        else:
            slowest = max(value for other, value in found.items() if other != place)
            limits.append(max(slowest, 0.0) + math.log1p(LEAST_OFF))
    return limits


def fleet_points(rows: Iterable[Row]) -> dict[tuple[str, str], list[Point]]:
    """Return what places took, by benchmark and kinds of memory."""
    kinds: dict[tuple[str, str], list[Point]] = {}
    for row in rows:
        if row.status is not Status.OK or profile_of(row.benchmark).rows != "place":
            continue
        if row.src and row.t_median_s and row.t_mean_s:
            # Copies between GPUs of a node are of the node: their ends are its own business.
            place = row.src if row.dst is None else row.src_host or host_of(row.src)
            point = Point(place, row.case, row.launch, row.t_median_s, row.t_mean_s)
            memory = memory_text(row.src_memory, row.dst_memory)
            kinds.setdefault((row.benchmark, memory), []).append(point)
    return kinds


def memory_text(src: str | None, dst: str | None) -> str:
    """Return the kinds of memory in words; empty for the host's own."""
    ends = dict.fromkeys(kind for kind in (src, dst) if kind)
    return "" if [*ends] in ([], ["host"]) else f"{' to '.join(ends)} memory"


def fleet_findings(rows: Iterable[Row]) -> list[Finding]:
    """Return a warning for each benchmark in which places are slower than the others."""
    findings = []
    for (benchmark, memory), points in fleet_points(rows).items():
        worst = find_slower(points)
        if not worst:
            continue
        most = max((s for shown in worst.values() for s in shown.values()), key=lambda s: s.ratio)
        what = f"{benchmark} in {memory}" if memory else benchmark
        findings.append(
            Finding(
                name=SLOWER,
                level="warning",
                text=f"{_named([*worst])} {'is' if len(worst) == 1 else 'are'} slower than the "
                f"other {len({point.place for point in points}) - len(worst)} in {what}: "
                + "; ".join(_words(worst, which) for which in _shown(worst)),
                advice="look at its clocks and limits first: power and heat, a quota of its "
                "control group (cpu.max, cpu.cfs_quota_us), a mode of its firmware, memory that "
                "is missing or slow, and what else runs there",
                about=_about(worst, points),
                value=most.ratio,
                limit=most.limit,
                unit="ratio",
            )
        )
    return findings


def _about(worst: Iterable[str], points: Iterable[Point]) -> About:
    places = list(worst)
    hosts = tuple(dict.fromkeys(map(host_of, places)))
    parts = tuple(place for place in places if place != host_of(place))
    cases = tuple(dict.fromkeys(point.case for point in points))[:MOST_NAMED]
    return About(cases=cases, hosts=hosts, parts=parts)


def find_slower(points: Sequence[Point]) -> dict[str, dict[Time, Standing]]:
    """Return the places that are slower than the others, by what shows it, the slowest first."""
    found: dict[str, dict[Time, Standing]] = {}
    for which in _TIMES:
        for one in compare_places(points, which):
            if one.is_slower:
                found.setdefault(one.place, {})[which] = one
    return dict(sorted(found.items(), key=lambda pair: -max(s.ratio for s in pair[1].values())))


def _shown(worst: Mapping[str, Mapping[Time, Standing]]) -> list[Time]:
    return [which for which in _TIMES if any(which in shown for shown in worst.values())]


def _words(worst: Mapping[str, Mapping[Time, Standing]], which: Time) -> str:
    """Return how much slower places are by one of the times, and what was allowed."""
    ratios = [shown[which].ratio for shown in worst.values() if which in shown]
    limits = [shown[which].limit for shown in worst.values() if which in shown]
    least, most = min(ratios), max(ratios)
    several = f"{least:.3g} to {most:.3g}" if f"{least:.3g}" != f"{most:.3g}" else f"{most:.3g}"
    whose, they = ("its", "it takes") if len(worst) == 1 else ("their", "they take")
    kind = f"half of {whose} samples take" if which == "median" else f"on average {they}"
    return (
        f"{kind} {several} times as long as in the middle of all, where {min(limits):.3g} times is "
        "the limit by what the others scatter"
    )


def _named(places: Sequence[str]) -> str:
    """Return places as one text for people: hosts folded, GPUs one by one."""
    if all(place == host_of(place) for place in places):
        return fold_hosts(places)
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    return ", ".join(places[:MOST_NAMED]) + more
