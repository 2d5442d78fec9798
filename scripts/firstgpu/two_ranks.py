"""Two ranks on this GPU, by CUDA IPC: messages arrive, and the rows say that they share it."""

from pathlib import Path

from bench.core.records import Status, parse_params
from bench.machine.mpi import find_mpi
from firstgpu.answer import Answer, NotHereError, judge
from firstgpu.gpu import open_device
from firstgpu.rows import count_rows, name_failed, run_suite, tabulate, tell_missing

SUITE = Path(__file__).with_name("two-ranks.toml")


def ask(folder: Path) -> Answer:
    """Staged messages arrive with any MPI, direct ones where it takes device buffers."""
    open_device()
    if find_mpi() is None:
        raise NotHereError("no MPI")
    run = run_suite(SUITE, folder)
    rows = run.rows()
    ok = [row for row in rows if row.status is Status.OK]
    silent = [row.case for row in ok if "shared_gpus" not in parse_params(row.params)]
    wrong = name_failed(rows) + tell_missing(run)
    wrong += [f"{len(silent)} rows do not say that two ranks share the GPU"] if silent else []
    wrong += [] if ok else ["no message was measured"]
    direct = any(row.path == "direct" for row in ok)
    came = count_rows(rows) + ("" if direct else "; this MPI takes no device buffers")
    means = "ranks that share a GPU copy within it: such rows are no rate of a link, and say so"
    return judge(wrong, came, means, tabulate(rows))
