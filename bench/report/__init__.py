"""The report: figures, one self-contained HTML page, and the same page as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from bench.judge.runs import join_tables, label_runs
from bench.report.anonymise import anonymise as take_names_out
from bench.report.content import compose
from bench.report.data import RunData, read_run
from bench.report.figures import FIGURES, draw_all
from bench.report.page import Picture
from bench.report.write import write_page
from bench.store.folder import RunFolder

STEM = "report"


def build(runs: Sequence[RunFolder], folder: Path, anonymise: bool = False) -> Path:
    """Write `report.html`, `report.md` and `figures/` to `folder`; return the page's path.

    Several runs share the figures. With `anonymise`, host and user names, paths, addresses, UUIDs
    and serial numbers are taken out first.

    Raises:
        RequestError: where a file of a run is damaged.
        OSError: where the folder cannot be written.
    """
    labels = label_runs(len(runs))
    data = [read_run(run, label) for run, label in zip(runs, labels, strict=True)]
    if anonymise:
        data = take_names_out(data)
    pictures = _draw(data)
    page = compose(data, pictures)
    return write_page(page, pictures, folder, STEM, (kind.name for kind in FIGURES))


def _draw(runs: Sequence[RunData]) -> tuple[Picture, ...]:
    table = join_tables({run.label: run.table for run in runs})
    samples = {run.label: run.samples for run in runs}
    return tuple(draw_all(table, samples))
