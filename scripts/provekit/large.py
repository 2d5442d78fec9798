"""Writes runs as large as a cluster's, as the runner would have left them.

Messages between every two of many hosts, collective calls and products, each case of which is in
every launch with rows that differ in their times. A row in eight has been predicted.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import __version__
from bench.core.clock import utc_text
from bench.core.events import CaseEnded, CaseStarted, Samples
from bench.core.records import (
    SCHEMA,
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
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.run.rows import Place, make_row
from bench.store.begin import begin_run
from bench.store.files import LOGS_FOLDER, PREDICTIONS_FILE, RESULTS_FILE, SAMPLES_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.meta import Measured, RunMeta
from bench.store.parts import Parts
from bench.store.recorder import Recorder
from bench.store.tables import csv_header, csv_text, header_line

_TIMES = [name for name in csv_header(Row) if name.startswith("t_")]
_PREDICTED = 8
_START_S = 1_795_000_000.0
_COPIES = """
[suite]
name = "large"
cap_s = 0.02
[[benchmark]]
name = "memcpy"
bytes = { from = "64 B", to = "1 MiB", per_octave = 10 }
ranks = 1
"""


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
    run = _begin(folder, plan, '[suite]\nname = "large"\n', "mpirun", launches, "complete")
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
        "schema": SCHEMA,
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


def write_unfinished(folder: Path, samples: int, of_each: int) -> RunFolder:
    """Write a run of one process that was killed before its last case, and return it opened.

    Args:
        folder: to be made.
        samples: of all rows together, about.
        of_each: samples of a row.
    """
    suite = parse_suite(_COPIES, "copies")
    launches = -(-samples // (of_each * make_plan(suite, 1).cases()))
    plan = make_plan(suite, launches)
    recorder = Recorder(_begin(folder, plan.jobs, suite.text, "local", launches, None))
    *cases, _last = (
        (job, order, case)
        for job in plan.jobs
        for order, case in enumerate(job.cases, start=job.first_order)
    )
    for number, (job, order, case) in enumerate(cases):
        seconds = tuple(1e-6 * (1 + (number + i) % 997 / 997) for i in range(of_each))
        ended = CaseEnded(case=case.id, status=Status.OK, loops=1, sampled_ranks=1)
        for event in (CaseStarted(case.id), Samples(case.id, 0, seconds), ended):
            recorder.event(job.id, 0, event)
        place = Place(folder.name, Origin.MEASURED, job, order)
        row = make_row(place, case, ended, {0: seconds}, None, recorder.now())
        taken = [
            Sample(case=case.id, launch=job.launch, sample=i, rank=0, seconds=one)
            for i, one in enumerate(seconds)
        ]
        recorder.rows([row], taken)
    return open_run(folder)


def _begin(
    folder: Path,
    jobs: tuple[Job, ...],
    suite_text: str,
    launcher: str,
    launches: int,
    outcome: str | None,
) -> RunFolder:
    (folder / LOGS_FOLDER).mkdir(parents=True)
    meta = RunMeta(
        run=folder.name,
        origin=Origin.MEASURED,
        version=__version__,
        suite_name="large",
        started_utc=instant(0),
        outcome=outcome,
        made=Measured(flags={}, seed=1, launches=launches, launcher=launcher, mpi={}),
    )
    return begin_run(folder, meta, Parts(suite_text=suite_text, plan=jobs))


def instant(seconds: float) -> str:
    """Return a time so many seconds into the run."""
    return utc_text(_START_S + seconds)
