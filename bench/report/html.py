"""The page as one HTML file that asks nothing of any network: styles and figures are inside."""

import base64
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.report.page import Page, Picture, clean

_TEMPLATES = Path(__file__).parent / "templates"


def render_html(page: Page) -> str:
    """Return the page as HTML; every text in it is escaped by the template engine."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["prose"] = _prose
    environment.tests["block"] = _is_block
    return environment.get_template("page.html").render(page=page)


def _data_uri(picture: Picture) -> str:
    # An image cannot run what a hostile name might have smuggled into it; inline SVG could.
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode()


def _prose(text: str) -> Markup:
    """Return text with what stands between backticks set as code."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return escape(clean(text))
    wrapped = (
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts)
    )
    return Markup("").join(wrapped)


def _is_block(block: object, tag: str) -> bool:
    return type(block).__name__ == tag
