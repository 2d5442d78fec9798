"""Runs clusterbench as its users do, and looks at the rows."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.core.records import Row, Status
from bench.store.folder import RunFolder, open_run


def run_suite(suite: str | Path, folder: Path, *flags: str, limit_s: float) -> RunFolder:
    """Run a suite and return its folder; a run that was cut off keeps what it has.

    Raises:
        RuntimeError: where it left no run.
    """
    command = [sys.executable, "-m", "bench", "run", str(suite), "-o", str(folder / "runs")]
    process = subprocess.Popen([*command, *flags])
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(20)
    found = sorted((folder / "runs").glob("*/run.json"))
    if not found:
        raise RuntimeError(f"clusterbench ended with status {process.returncode} and left no run")
    return open_run(found[-1].parent)


def count_rows(rows: list[Row]) -> str:
    """Return how many rows have each status."""
    counts = Counter(str(row.status) for row in rows)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no rows"


def name_failed(rows: list[Row]) -> list[str]:
    """Return the first failed rows with their reasons."""
    failed = [f"{row.case}: {row.reason}" for row in rows if row.status is Status.FAILED]
    return failed[:3] + ([f"and {len(failed) - 3} more"] if len(failed) > 3 else [])


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
