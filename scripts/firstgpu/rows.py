"""Runs clusterbench as its users do, and looks at the rows."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.core.records import Row, Status
from bench.store.folder import RunFolder, open_run
from firstgpu.deadline import inner_s

_ENDING_S = 20.0
"""A run that is asked to end ends its ranks and writes what it has."""


def run_suite(suite: str | Path, folder: Path, *flags: str) -> RunFolder:
    """Run a suite for as long as its step may; a run that was cut off keeps what it has.

    Raises:
        RuntimeError: where it left no run.
    """
    command = [sys.executable, "-m", "bench", "run", str(suite), "-o", str(folder / "runs")]
    command += ["--no-report"]  # which can be made elsewhere, and takes Matplotlib
    end_in_time(subprocess.Popen([*command, *flags]))
    found = sorted((folder / "runs").glob("*/run.json"))
    if not found:
        raise RuntimeError("clusterbench left no run; its log tells why")
    return open_run(found[-1].parent)


def end_in_time(process: subprocess.Popen[bytes], ask: int = signal.SIGTERM) -> None:
    """Wait for a process; when the step's time is nearly up, ask it to end, then kill it.

    Args:
        process: that was started by the step.
        ask: the signal at which it writes what it has.
    """
    try:
        process.wait(inner_s())
    except subprocess.TimeoutExpired:
        process.send_signal(ask)
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def count_rows(rows: list[Row]) -> str:
    """Return how many rows have each status."""
    counts = Counter(str(row.status) for row in rows)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no rows"


def name_failed(rows: list[Row]) -> list[str]:
    """Return the first failed rows with their reasons."""
    failed = [f"{row.case}: {row.reason}" for row in rows if row.status is Status.FAILED]
    return failed[:3] + ([f"and {len(failed) - 3} more"] if len(failed) > 3 else [])


def tell_missing(run: RunFolder) -> list[str]:
    """Return how many cases were not reached, if any."""
    missing = len(run.missing())
    return [f"{missing} cases were not reached"] if missing else []


def tabulate(rows: list[Row]) -> list[list[str]]:
    """Return a table of rows."""
    return [
        ["case", "status", "median us", "GB/s", "TFLOP/s", "of its bound", "reason"],
        *(
            [row.case, str(row.status), *map(_figure, (
                row.t_median_s and row.t_median_s * 1e6, row.gbytes_per_s, row.tflops,
                row.fraction_of_bound)), row.reason or ""]
            for row in rows
        ),
    ]  # fmt: skip


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
