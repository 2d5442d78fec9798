"""From the events of a case to its row: statistics, rates, and where it ran."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from bench.contracts import Measurement, Seconds
from bench.core.clusters import cluster_spread, clustered_interval
from bench.core.events import CaseEnded, Facts
from bench.core.hostnames import host_of, part
from bench.core.orderstats import count_outliers
from bench.core.records import (
    COLUMNS,
    PAGE_SET_SPREAD,
    PAGE_SETS,
    Axis,
    Case,
    CounterReading,
    Job,
    Origin,
    Row,
    Status,
    Work,
    params_text,
)
from bench.measure import MEASUREMENTS, rates
from bench.measure.axes import four_digits
from bench.measure.pair import pair_ranks


class Place(msgspec.Struct, frozen=True):
    """Where a row belongs: its run, job, and place in the order of its launch."""

    run: str
    origin: Origin
    job: Job
    order: int


def make_row(
    place: Place,
    case: Case,
    ended: CaseEnded,
    samples: dict[int, tuple[float, ...]],
    facts: Facts | None,
    started_utc: str | None,
) -> Row:
    """Return the final row of a case of which all ranks measured together.

    Args:
        samples: seconds for one operation, of every rank that measured.
        facts: of the job; None where it never sent them.
    """
    measurement = MEASUREMENTS[case.benchmark]
    values = _axis_columns(case, measurement)
    params = {**_rare_axes(case), **ended.params}
    if facts is not None:
        values |= describe_placement(facts) | _ends(facts, measurement, case)
        values |= {"thread_level": facts.thread_level}
        if crowded_hosts(facts):
            params["oversubscribed"] = 1
    if samples:
        sets = int(params.get(PAGE_SETS, 1))
        values |= _statistics(samples, measurement, sets)
        if sets > 1:
            seconds = aggregate(samples, measurement.rank_agg)
            params[PAGE_SET_SPREAD] = round(cluster_spread(seconds, sets), 3)
    if samples and ended.status is Status.OK:
        values |= _rates(measurement.work(case), values[f"t_{values['statistic']}_s"])
        if "one_rank_s" in params:
            alone_s, median_s = (
                float(str(t)) for t in (params["one_rank_s"], values["t_median_s"])
            )
            params["speedup"] = four_digits(alone_s / median_s)
    return msgspec.convert(
        {
            "run": place.run,
            "origin": place.origin,
            "job": place.job.id,
            "attempt": place.job.attempt,
            "launch": place.job.launch,
            "arm": place.job.arm,
            "order": place.order,
            "case": case.id,
            "benchmark": case.benchmark,
            "status": ended.status,
            "reason": ended.reason,
            "loops": ended.loops,
            "warmups": ended.warmups,
            "converged": None if ended.converged is None else int(ended.converged),
            "bytes_checked": ended.bytes_checked,
            "bytes_wrong": ended.bytes_wrong,
            "timing_layer": ended.timing_layer,
            "started_utc": started_utc,
            **values,
            "params": params_text(params),
        },
        Row,
    )


def counter_readings(case: Case, launch: int, ended: CaseEnded) -> list[CounterReading]:
    """Return what the devices of all hosts showed before and after the samples of a case."""
    return [
        CounterReading(
            case=case.id,
            launch=launch,
            host=traffic.host,
            part=counter.device,
            counter=f"{counter.kind}_{way}_bytes",
            before=before,
            after=before + counted,
        )
        for traffic in ended.traffic
        for counter in traffic.counters
        for way, before, counted in (
            ("sent", counter.sent_before, counter.sent),
            ("received", counter.received_before, counter.received),
        )
        if before is not None
    ]


def _axis_columns(case: Case, measurement: Measurement) -> dict[str, object]:
    work = measurement.work(case)
    values: dict[str, object] = {
        name: value for name, value in case.axes.items() if name in COLUMNS
    }
    if "memory" in case.axes:
        source = case.axes["memory"]
        values |= {"src_memory": source, "dst_memory": case.axes.get("dst_memory", source)}
    return {
        **values,
        **measurement.columns(case),
        "bytes": work.bytes,
        "bytes_per_rank": work.bytes_per_rank,
        "bytes_total": work.bytes_total,
    }


def _rare_axes(case: Case) -> dict[str, Axis]:
    """Return the axes that have no column of their own; threads are reported by ranks."""
    known = (*COLUMNS, "memory", "threads")
    return {name: value for name, value in case.axes.items() if name not in known}


def describe_placement(facts: Facts) -> dict[str, object]:
    """Return the columns that tell how ranks are spread."""
    hosts = [rank.host for rank in facts.ranks]
    bound = all(len(rank.usable_cores) == 1 for rank in facts.ranks)
    return {
        "nodes": len(set(hosts)),
        "ranks_per_node": max(Counter(hosts).values()),
        "binding": "core" if bound else "none",
    }


def _ends(facts: Facts, measurement: Measurement, case: Case) -> dict[str, object]:
    hosts = [rank.host for rank in facts.ranks]
    ends = {"src": hosts[0]}
    if measurement.pairwise:
        first, last = pair_ranks(case, len(hosts))
        ends = {
            "src": part(hosts[first], f"rank{first}"),
            "dst": part(hosts[last], f"rank{last}"),
        }
    # GPUs of one process are those of the first rank.
    for end in ("src", "dst"):
        if f"{end}_gpu" in case.axes:
            ends[end] = part(hosts[0], f"gpu{case.axes[f'{end}_gpu']}")
    return {**ends, **{f"{end}_host": host_of(name) for end, name in ends.items()}}


def crowded_hosts(facts: Facts) -> set[str]:
    """Return the hosts whose ranks outnumber the physical cores that they may use together."""
    return {host for host, ranks in ranks_per_core(facts).items() if ranks > 1}


def ranks_per_core(facts: Facts) -> dict[str, float]:
    """Return for each host how many ranks there are to a physical core that they may use.

    A quota that pays for fewer counts too: the ranks stand still when it is used up.
    """
    cores: dict[str, set[int]] = {}
    for rank in facts.ranks:
        cores.setdefault(rank.host, set()).update(rank.usable_cores)
    ranks = Counter(rank.host for rank in facts.ranks)
    quotas = {host: _read_quota(node) for host, node in facts.nodes.items()}
    return {
        host: ranks[host] / min(max(1, len(usable)), quotas.get(host, math.inf))
        for host, usable in cores.items()
    }


def _read_quota(node: Mapping[str, Any]) -> float:
    """Return the cores that the facts of a node say that its ranks are granted."""
    cpu = node.get("cpu")
    quota = cpu.get("quota_cores") if isinstance(cpu, dict) else None
    return quota if isinstance(quota, int | float) and quota > 0 else math.inf


def aggregate(samples: dict[int, tuple[float, ...]], rank_agg: str) -> Seconds:
    """Return one time per sample: rank 0's, or that of the rank that was slowest in it."""
    if rank_agg == "rank0":
        return np.array(samples[0])
    slowest: Seconds = np.array([samples[rank] for rank in sorted(samples)]).max(axis=0)
    return slowest


def _statistics(
    samples: dict[int, tuple[float, ...]], measurement: Measurement, page_sets: int
) -> dict[str, object]:
    seconds = aggregate(samples, measurement.rank_agg)
    interval = clustered_interval(seconds, page_sets)
    seconds = np.sort(seconds)
    slowest = max(samples, key=lambda rank: float(np.median(samples[rank])))
    return {
        "statistic": "median",
        "t_median_s": float(np.median(seconds)),
        "t_ci_low_s": interval[0] if interval else None,
        "t_ci_high_s": interval[1] if interval else None,
        "t_min_s": float(seconds[0]),
        "t_p95_s": float(np.quantile(seconds, 0.95)),
        "t_p99_s": float(np.quantile(seconds, 0.99)),
        "t_max_s": float(seconds[-1]),
        "t_mean_s": float(np.mean(seconds)),
        "samples": len(seconds),
        "outliers": count_outliers(seconds),
        "rank_agg": measurement.rank_agg,
        "slowest_rank": slowest if measurement.rank_agg == "max" else None,
    }


def _rates(work: Work, seconds: object) -> dict[str, object]:
    t = msgspec.convert(seconds, float)
    return {
        "gbytes_per_s": rates.gbytes_per_s(work, t),
        "busbw_gbytes_per_s": rates.busbw_gbytes_per_s(work, t),
        "tflops": rates.tflops(work, t),
        "messages_per_s": rates.messages_per_s(work, t),
    }
