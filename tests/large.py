"""Writes runs as large as a cluster's: `python tests/large.py DIR CASES LAUNCHES SAMPLES NODES`.

Messages between every two of many hosts, collective calls and products, each case of which is in
every launch with rows that differ in their times. A row in eight has been predicted.
"""

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from begun import begun
from synthetic import instant

from bench.core.records import (
    Axis,
    Case,
    Job,
    Origin,
    Prediction,
    Row,
    Sample,
    Stage,
    Status,
    params_text,
)
from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE, SAMPLES_FILE
from bench.store.folder import RunFolder
from bench.store.tables import csv_header, csv_text, header_line

_TIMES = [name for name in csv_header(Row) if name.startswith("t_")]
_PREDICTED = 8


def large_cases(count: int, alone: bool) -> Iterator[Case]:
    """Yield so many distinct cases: four of five between two hosts, or all `alone` on a node."""
    hosts = 2 + math.isqrt(count)
    pairs = itertools.permutations(range(hosts), 2)
    for number in range(count):
        if alone or number % 10 == 0:
            shape: dict[str, Axis] = {"batch": 1 + number, "dtype": "fp32"}
            yield _case("matmul", shape, {"k": 1000, "n": 1000})
        elif number % 5 == 0:
            yield _case("allreduce", {"bytes": 8 * number}, {"mode": "latency", "ranks": hosts})
        else:
            source, target = next(pairs)
            yield _case(
                "pairs_bandwidth",
                {"bytes": 2**20, "dst_rank": target, "ranks": hosts, "src_rank": source},
                {"memory": "host", "path": "direct", "window": 64},
            )


def _case(benchmark: str, axes: dict[str, Axis], defaults: dict[str, Axis]) -> Case:
    words = "/".join(f"{name}={value}" for name, value in axes.items())
    return Case(f"{benchmark}/{words}", benchmark, dict(sorted({**axes, **defaults}.items())))


def write_large(
    folder: Path, cases: int, launches: int = 1, samples: int = 0, nodes: int = 1, kept: float = 1.0
) -> RunFolder:
    """Write a run of `cases` times `launches` times `nodes` rows, and return it opened.

    Args:
        folder: to be made.
        cases: distinct ones.
        launches: of each case.
        samples: of each row.
        nodes: that a case has a row of.
        kept: share of the rows that are written; the others are missing.
    """
    planned = tuple(large_cases(cases, alone=nodes > 1))
    plan = tuple(
        Job(f"{launch:03d}-target", Stage.TARGET, launch, 2 + math.isqrt(cases), 1, planned)
        for launch in range(launches)
    )
    run = begun(
        folder,
        plan,
        name="large",
        suite_text='[suite]\nname = "large"\n',
        launcher="mpirun",
        seed=1,
        launches=launches,
        started_utc=instant(0),
        outcome="complete",
    )
    with (
        (folder / RESULTS_FILE).open("w", encoding="utf-8", newline="") as rows,
        (folder / SAMPLES_FILE).open("w", encoding="utf-8", newline="") as taken,
        (folder / PREDICTIONS_FILE).open("w", encoding="utf-8", newline="") as predicted,
    ):
        for file, kind in ((rows, Row), (taken, Sample), (predicted, Prediction)):
            file.write(header_line(kind))
        for job in plan:
            for number, case in enumerate(planned[: round(kept * cases)]):
                seconds = 1e-6 * (1 + (17 * number + 5 * job.launch) % 1009 / 1009)
                for node in range(nodes):
                    taken.write(_sample_lines(case, job.launch, node, seconds, samples))
                    rows.write(_row_line(folder.name, job, number, case, node, seconds))
                if number % _PREDICTED == 0:
                    predicted.write(_prediction_line(case, job.launch, seconds))
    return run


def _row_line(run: str, job: Job, order: int, case: Case, node: int, seconds: float) -> str:
    axes, columns = case.axes, csv_header(Row)
    is_pair = case.benchmark == "pairs_bandwidth"
    values: dict[str, object] = {
        "schema": 1,
        "run": run,
        "origin": Origin.MEASURED,
        "job": job.id,
        "attempt": 0,
        "launch": job.launch,
        "order": order,
        "case": case.id,
        "benchmark": case.benchmark,
        "status": Status.OK,
        "nodes": job.ranks,
        "ranks": job.ranks,
        "ranks_per_node": 1,
        "src": f"node{axes.get('src_rank', node):05d}:rank{axes.get('src_rank', node)}",
        "dst": f"node{axes['dst_rank']:05d}:rank{axes['dst_rank']}" if is_pair else None,
        "params": params_text({k: v for k, v in axes.items() if k not in columns} | {"passes": 1}),
        "statistic": "median",
        **{name: seconds * (1 + place / 70) for place, name in enumerate(_TIMES)},
        "samples": 40,
        "converged": 1,
        "rank_agg": "rank0" if is_pair else "max",
        "gbytes_per_s": 2**20 / seconds / 1e9 if is_pair else None,
        "bound_source": "bytes / B, B = 50 GB/s, payload of a link",
        "timing_layer": "numba",
        "thread_level": "single",
        "started_utc": instant(0.001 * order),
        **{name: axes[name] for name in columns if name in axes},
    }
    return csv_text([[values.get(name) for name in columns]])


def _sample_lines(case: Case, launch: int, rank: int, seconds: float, samples: int) -> str:
    return "".join(
        f"{case.id},{launch},{number},{rank},{seconds * (1 + number % 7 / 100)!r}\n"
        for number in range(samples)
    )


def _prediction_line(case: Case, launch: int, seconds: float) -> str:
    prediction = Prediction(
        case=case.id,
        launch=launch,
        tier="C",
        formula="as measured",
        seconds=1.1 * seconds,
        low_s=seconds,
        high_s=1.2 * seconds,
        parameters_hash="0" * 8,
        calibration_cases="latency/bytes=8 latency/bytes=1024",
        frozen_at=instant(-1),
    )
    return csv_text([msgspec.structs.astuple(prediction)])


if __name__ == "__main__":
    write_large(Path(sys.argv[1]), *map(int, sys.argv[2:6]))
