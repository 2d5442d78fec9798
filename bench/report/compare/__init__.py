"""The page of a comparison: one picture, what it means in words, and the numbers behind it."""

from pathlib import Path

from bench.judge.compare.comparison import Comparison
from bench.report.compare.content import compose
from bench.report.compare.picture import draw
from bench.report.write import write_page

STEM = "compare"
"""Of the files, which may lie beside those of a run's own page."""
AB_STEM = "report"
"""Of the files in the folder of an interleaved comparison, which has no other page."""


def build_comparison(comparison: Comparison, folder: Path, stem: str = STEM) -> Path:
    """Write the page as HTML and as Markdown, and its figures; return the path of the HTML.

    Args:
        comparison: what the page is of.
        folder: that they are written to, made where it is not there.
        stem: of the names of the pages, and of the figures.

    Raises:
        OSError: where the folder cannot be written.
    """
    pictures = tuple(draw(comparison, stem))
    return write_page(compose(comparison, pictures), pictures, folder, stem)
