"""Some thirty cases by the command line."""

from pathlib import Path

from firstgpu.answer import Answer, judge
from firstgpu.gpu import open_device
from firstgpu.rows import count_rows, name_failed, run_suite, tabulate, tell_missing

SUITE = Path(__file__).with_name("short.toml")


def ask(folder: Path) -> Answer:
    """Every case is measured, none fails, none beats its bound."""
    open_device()
    run = run_suite(SUITE, folder, "--launcher", "local")
    rows = run.rows()
    wrong = name_failed(rows) + tell_missing(run)
    wrong += [
        f"{row.case}: {row.fraction_of_bound:.2f} of its bound"
        for row in rows
        if (row.fraction_of_bound or 0) > 1.02
    ]
    means = (
        "what a user of one GPU runs first is measured, checked, and within what hardware can do"
    )
    return judge(wrong, count_rows(rows), means, tabulate(rows))
