"""Writes a run folder whose truth is known, through the same records that a real run is made of."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from begun import begun

from bench.core.records import (
    Axis,
    Case,
    Finding,
    Job,
    Origin,
    Prediction,
    Row,
    Sample,
    Sampling,
    Stage,
    Status,
    Work,
    params_text,
)
from bench.measure import rates
from bench.measure.blocks import KINDS
from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE, SAMPLES_FILE, Appender
from bench.store.folder import RunFolder
from bench.store.nodes import Nodes
from bench.store.parts import Command
from bench.store.tables import csv_lines, header_line

START = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)
SIZES = [2**power for power in range(23)]
BATCHES = [1, 2, 4, 8, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129, 256]
ON_ALL_RANKS = ("memcpy", "stream", "matmul")
"""Benchmarks whose ranks all take samples; of the others the first one does."""
KERNELS = {"copy": 2, "scale": 2, "add": 3, "triad": 3}
ALL = ("latency", "bandwidth", "bibandwidth", "message_rate", "memcpy", "stream", "matmul")


def instant(seconds: float) -> str:
    """Return the moment so many seconds into the run, as the files write it."""
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def true_seconds(case: Case) -> float:
    """Return what one operation takes in this world."""
    axes = case.axes
    size = int(axes.get("bytes", 0))
    if case.benchmark == "allreduce":
        alpha_s = 15e-6 if axes["mode"] == "throughput" else 20e-6
        return alpha_s + size / 5e9
    if case.benchmark == "latency":
        return 110e-9 + size / 18e9 + (600e-9 if size > 4096 else 0.0)
    if case.benchmark in ("bandwidth", "bibandwidth"):
        return 60e-9 + size / 15e9 + (150e-9 if size > 4096 else 0.0)
    if case.benchmark == "message_rate":
        return 55e-9 + size / 14e9
    if case.benchmark in ("memcpy", "stream", "peer_copy"):
        size *= KERNELS.get(str(axes.get("kernel")), 1)
        rate = 60e9 if size < 2**20 else 12e9
        return 25e-9 + size / rate
    batch, k, n = int(axes["batch"]), int(axes["k"]), int(axes["n"])
    rows = 32 * math.ceil(batch / 32)  # a kernel that works on tiles of 32 rows
    peak = 90e9 if axes["dtype"] == "fp32" else 45e9
    return 20e-6 + 2 * rows * k * n / peak


def work(case: Case) -> Work:
    """Return what one operation accomplishes."""
    axes = case.axes
    size = int(axes.get("bytes", 0))
    if case.benchmark == "matmul":
        return Work(flop=2 * int(axes["batch"]) * int(axes["k"]) * int(axes["n"]))
    if case.benchmark == "latency":
        return Work(bytes=size, rate_bytes=size)
    if case.benchmark == "message_rate":
        return Work(bytes=size, messages=1)
    if case.benchmark == "allreduce":
        bus_bytes = size * {kind.name: kind for kind in KINDS}["allreduce"].bus_factor(2)
        return Work(bytes=size, rate_bytes=size, bus_bytes=bus_bytes)
    if case.benchmark == "stream":
        size *= KERNELS[str(axes["kernel"])]
    return Work(bytes=size, rate_bytes=size * (2 if case.benchmark == "bibandwidth" else 1))


def cases(benchmarks: Iterable[str]) -> list[Case]:
    """Return the cases of a suite much like `quick`."""
    found: list[tuple[str, dict[str, Axis]]] = []
    for benchmark in benchmarks:
        if benchmark == "matmul":
            found += [
                (benchmark, {"batch": batch, "dtype": dtype, "k": 1000, "n": 1000})
                for dtype in ("fp32", "fp64")
                for batch in BATCHES
            ]
        elif benchmark == "stream":
            found += [
                (benchmark, {"bytes": size, "kernel": kernel})
                for kernel in KERNELS
                for size in SIZES[10::2]
            ]
        elif benchmark == "allreduce":
            found += [
                (benchmark, {"bytes": size, "mode": mode})
                for mode in ("latency", "throughput")
                for size in SIZES[3:]
            ]
        elif benchmark == "peer_copy":
            way: dict[str, Axis] = {"bytes": 2**20, "memory": "device", "pattern": "pair"}
            found += [
                (benchmark, {**way, "src_gpu": 0, "dst_gpu": 1, "direction": direction})
                for direction in ("uni", "bi")
            ]
            way |= {"direction": "uni"}
            found += [
                (benchmark, {**way, "pattern": "one_to_all", "src_gpu": 1}),
                (benchmark, {**way, "pattern": "all_to_one", "dst_gpu": 0}),
            ]
        elif benchmark == "memcpy":
            found += [(benchmark, {"bytes": size}) for size in SIZES[6:]]
        elif benchmark == "message_rate":
            found += [(benchmark, {"bytes": size}) for size in SIZES[:10]]
        else:
            found += [(benchmark, {"bytes": size}) for size in SIZES]
    return [Case(id=f"c{i:04d}", benchmark=b, axes=axes) for i, (b, axes) in enumerate(found)]


def write_run(
    folder: Path,
    *,
    benchmarks: Sequence[str] = ALL,
    launches: int = 1,
    error: float = 0.07,
    interval: float = 0.1,
    drift: float = 0.0,
    spread: float = 0.0,
    samples: int = 40,
    predict: bool = True,
    refuse: dict[str, dict[str, Any]] | None = None,
    skip: dict[str, str] | None = None,
    fail: dict[str, str] | None = None,
    keep: int | None = None,
    outcome: str | None = "complete",
    origin: Origin = Origin.MEASURED,
    suite_name: str = "quick",
    host: str = "node07",
    params: dict[str, Axis] | None = None,
    findings: Sequence[Finding] = (),
    facts: dict[str, dict[str, Any]] | None = None,
    env: dict[str, str] | None = None,
) -> RunFolder:
    """Write a run and return it opened.

    Every second case of a curve is for calibration; the others are predicted `error` too slow,
    with an interval of +-`interval` around the prediction. `drift` slows the second half of the
    samples of each launch, `spread` slows launch i by i times as much. `refuse` changes fields of
    the prediction of a case; `skip` and `fail` give a case its reason; only the first `keep` rows
    are written.
    """
    planned = cases(benchmarks)
    plan = _make_plan(planned[::2], planned[1::2], launches)
    place = _Place(folder.name, origin, host, params or {})
    failed = {case: {"status": Status.SKIPPED, "reason": why} for case, why in (skip or {}).items()}
    failed |= {case: {"status": Status.FAILED, "reason": why} for case, why in (fail or {}).items()}
    rows: list[Row] = []
    predictions: list[Prediction] = []
    taken: list[Sample] = []
    random_numbers = random.Random(7)  # noqa: S311 - a wobble, not a secret
    clock = 1.0
    for job in plan:
        if predict and job.stage is Stage.TARGET:
            predicted = _predict(job, planned[::2], error, interval, instant(clock))
            predictions += _replace(predicted, refuse or {})
        for order, case in enumerate(job.cases):
            clock += 0.25
            row = _make_row(place, job, order, case, instant(clock))
            base = true_seconds(case) * (1 + spread * job.launch)
            if case.id in failed:
                rows.append(msgspec.structs.replace(row, **failed[case.id]))
            else:
                rows.append(msgspec.structs.replace(row, **_times(base, work(case), samples)))
                taken += _take_samples(row, base, samples, drift, random_numbers)
    nodes = Nodes(hosts={host: next(iter(facts)) if facts else "unknown"}, facts=facts or {})
    tokens = ("mpirun", "-n", "2", "--host", host, "/home/ada/bin/python", "-m", "bench")
    env = env or {"OMP_NUM_THREADS": "2"}
    run = begun(
        folder,
        plan,
        name=suite_name,
        suite_text=f'[suite]\nname = "{suite_name}"\n',
        origin=origin,
        launcher="mpirun",
        flags={"ranks": 2},
        mpi={"name": "Open MPI", "version": "5.0.11", "path": "/opt/openmpi/lib/libmpi.so"},
        seed=1,
        launches=1 + plan[-1].launch,
        started_utc=instant(0),
        finished_utc=instant(clock + 1) if outcome else None,
        outcome=outcome,
        nodes=nodes,
        commands=[Command(job=job.id, attempt=0, tokens=tokens, env=env) for job in plan],
        findings=findings,
    )
    _write(folder / RESULTS_FILE, Row, rows[:keep])
    _write(folder / SAMPLES_FILE, Sample, taken)
    if predict:
        _write(folder / PREDICTIONS_FILE, Prediction, predictions)
    return run


class _Place(NamedTuple):
    """What all rows of a run have in common."""

    run: str
    origin: Origin
    host: str
    params: dict[str, Axis]


def _make_plan(
    calibrating: Sequence[Case], targets: Sequence[Case], launches: int
) -> tuple[Job, ...]:
    return tuple(
        Job(
            id=f"{stage.value}-{launch}",
            stage=stage,
            launch=launch,
            ranks=2,
            threads=2,
            cases=tuple(chosen),
            sampling=Sampling(cap_s=0.5),
        )
        for launch in range(launches)
        for stage, chosen in ((Stage.CALIBRATE, calibrating), (Stage.TARGET, targets))
    )


def _predict(
    job: Job, calibrating: Sequence[Case], error: float, interval: float, frozen_at: str
) -> Iterator[Prediction]:
    for case in job.cases:
        seconds = true_seconds(case) * (1 + error)
        ids = [c.id for c in calibrating if c.benchmark == case.benchmark]
        yield Prediction(
            case=case.id,
            launch=job.launch,
            tier="C",
            formula="synthetic",
            seconds=seconds,
            low_s=seconds * (1 - interval),
            high_s=seconds * (1 + interval),
            parameters_hash="0" * 8,
            calibration_cases=" ".join(ids),
            frozen_at=frozen_at,
        )


def _replace(
    predictions: Iterable[Prediction], changes: dict[str, dict[str, Any]]
) -> Iterator[Prediction]:
    """Yield the predictions, those of some cases with other fields."""
    for prediction in predictions:
        yield msgspec.structs.replace(prediction, **changes.get(prediction.case, {}))


def _make_row(place: _Place, job: Job, order: int, case: Case, started_utc: str) -> Row:
    """Return the row of a case, before it has times."""
    axes = {name: case.axes[name] for name in ("kernel", "mode") if name in case.axes}
    return Row(
        run=place.run,
        origin=place.origin,
        job=job.id,
        attempt=0,
        launch=job.launch,
        order=order,
        case=case.id,
        benchmark=case.benchmark,
        status=Status.OK,
        nodes=1,
        ranks=2,
        ranks_per_node=2,
        src=f"{place.host}:rank0",
        dst=f"{place.host}:rank1",
        bytes=work(case).bytes,
        batch=_int(case, "batch"),
        m=_int(case, "batch"),
        k=_int(case, "k"),
        n=_int(case, "n"),
        dtype=_text(case, "dtype"),
        params=params_text(axes | place.params),
        rank_agg="max" if case.benchmark in ON_ALL_RANKS else "rank0",
        timing_layer="numba",
        thread_level="single",
        started_utc=started_utc,
    )


def _take_samples(
    row: Row, base: float, samples: int, drift: float, random_numbers: random.Random
) -> Iterator[Sample]:
    for rank in (0, 1) if row.benchmark in ON_ALL_RANKS else (0,):
        for i in range(samples):
            wobble = 1 + 1e-4 * random_numbers.uniform(-1, 1)
            slow = 1 + (drift if i >= samples // 2 else 0.0)
            seconds = base * (slow if drift else wobble) * (1 if rank == 0 else 0.9)
            yield Sample(case=row.case, launch=row.launch, sample=i, rank=rank, seconds=seconds)


def _int(case: Case, axis: str) -> int | None:
    value = case.axes.get(axis)
    return int(value) if value is not None else None


def _text(case: Case, axis: str) -> str | None:
    value = case.axes.get(axis)
    return str(value) if value is not None else None


def _times(base: float, done: Work, samples: int) -> dict[str, Any]:
    """Return the columns of times and rates of a row whose median is exactly `base`."""
    return {
        "statistic": "median",
        "t_median_s": base,
        "t_ci_low_s": base * 0.98,
        "t_ci_high_s": base * 1.03,
        "t_min_s": base * 0.95,
        "t_p95_s": base * 1.1,
        "t_p99_s": base * 1.2,
        "t_max_s": base * 2,
        "t_mean_s": base * 1.01,
        "samples": samples,
        "loops": 16,
        "warmups": 100,
        "outliers": 0,
        "converged": 1,
        "slowest_rank": 0,
        "gbytes_per_s": rates.gbytes_per_s(done, base),
        "busbw_gbytes_per_s": rates.busbw_gbytes_per_s(done, base),
        "tflops": rates.tflops(done, base),
        "messages_per_s": rates.messages_per_s(done, base),
        "bytes_checked": 64,
        "bytes_wrong": 0,
    }


def _write(path: Path, kind: type[msgspec.Struct], records: Sequence[msgspec.Struct]) -> None:
    out = Appender(path, header_line(kind))
    out.write(csv_lines(records))
    out.close()
