"""A page written: as HTML, as Markdown, and its figures beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report.html import render_html
from bench.report.markdown import render_markdown
from bench.report.page import Page, Picture
from bench.store.files import FIGURES_FOLDER, replace_file


def write_page(
    page: Page, pictures: Sequence[Picture], folder: Path, stem: str, old: Iterable[str] = ()
) -> Path:
    """Write a page and its figures, and return the path of the HTML.

    Args:
        page: with these pictures.
        pictures: written as SVG and PNG to `figures/`.
        folder: made where it is not there.
        stem: of the names of the pages.
        old: names of figures of an earlier page that are taken away where they are no more.

    Raises:
        OSError: where the folder cannot be written.
    """
    figures = folder / FIGURES_FOLDER
    figures.mkdir(parents=True, exist_ok=True)
    for name in old:
        for file in (figures / f"{name}.svg", figures / f"{name}.png"):
            file.unlink(missing_ok=True)
    for picture in pictures:
        replace_file(figures / f"{picture.name}.svg", picture.svg)
        replace_file(figures / f"{picture.name}.png", picture.png)
    replace_file(folder / f"{stem}.md", render_markdown(page).encode())
    path = folder / f"{stem}.html"
    replace_file(path, render_html(page).encode())
    return path
