"""The suite `gpu`, whole, as it is kept for reference."""

from pathlib import Path

from bench.machine.mpi import find_mpi
from firstgpu.answer import Answer, judge
from firstgpu.gpu import open_device
from firstgpu.rows import count_rows, name_failed, run_suite, tabulate, tell_missing


def ask(folder: Path) -> Answer:
    """No row fails."""
    open_device()
    launcher = () if find_mpi() else ("--launcher", "local")  # messages are skipped then
    run = run_suite("gpu", folder, *launcher)
    rows = run.rows()
    wrong = name_failed(rows) + tell_missing(run)
    means = "the run is in the archive, to be kept for reference"
    return judge(wrong, count_rows(rows), means, tabulate(rows))
