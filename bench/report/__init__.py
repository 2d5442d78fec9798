"""The report: figures, one self-contained HTML page, and the same page as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from bench.judge.runs import join_tables, label_runs
from bench.report.anonymise import anonymise as take_names_out
from bench.report.content import compose
from bench.report.data import RunData, read_run
from bench.report.figures import FIGURES, draw_all
from bench.report.html import render_html
from bench.report.markdown import render_markdown
from bench.report.page import Picture
from bench.store.files import FIGURES_FOLDER, replace_file
from bench.store.folder import RunFolder

PAGE_FILE = "report.html"
MARKDOWN_FILE = "report.md"


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
    folder.mkdir(parents=True, exist_ok=True)
    _write_figures(pictures, folder / FIGURES_FOLDER)
    replace_file(folder / MARKDOWN_FILE, render_markdown(page).encode())
    replace_file(folder / PAGE_FILE, render_html(page).encode())
    return folder / PAGE_FILE


def _draw(runs: Sequence[RunData]) -> tuple[Picture, ...]:
    table = join_tables({run.label: run.table for run in runs})
    samples = {run.label: run.samples for run in runs}
    return tuple(draw_all(table, samples))


def _write_figures(pictures: Sequence[Picture], folder: Path) -> None:
    """Write figures as SVG and PNG, and remove those of an earlier report that are no more."""
    folder.mkdir(exist_ok=True)
    for kind in FIGURES:
        for old in (folder / f"{kind.name}.svg", folder / f"{kind.name}.png"):
            old.unlink(missing_ok=True)
    for picture in pictures:
        replace_file(folder / f"{picture.name}.svg", picture.svg)
        replace_file(folder / f"{picture.name}.png", picture.png)
