"""The page as data: sections of blocks, which HTML and Markdown both render.

Every text in it is plain and unescaped; escaping belongs to the renderer, which knows for what.
"""

import msgspec

from bench.core.errors import printable


def clean(text: str) -> str:
    """Return text with what cannot be seen escaped, such as a mark that turns the line around."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else printable(c) for c in text)


class Paragraph(msgspec.Struct, frozen=True, tag="paragraph"):
    """Running text."""

    text: str


class Item(msgspec.Struct, frozen=True):
    """Something to look at, with the next step."""

    level: str
    """`stop`, `warning` or `note`."""
    text: str
    advice: str | None = None
    about: str | None = None
    """Hosts, parts and cases that it is about, and the value that stood out."""


class Items(msgspec.Struct, frozen=True, tag="items"):
    """A list of things to look at, the gravest first."""

    items: tuple[Item, ...]


class Table(msgspec.Struct, frozen=True, tag="table"):
    """Cells of text under a header; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})
    """Columns that hold words and are set to the left; the others hold numbers."""


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    """A figure, as SVG inside the page and as files beside it."""

    name: str
    """Stem of the files in `figures/`."""
    title: str
    caption: str
    svg: bytes
    png: bytes


class Code(msgspec.Struct, frozen=True, tag="code"):
    """Text whose spaces and line ends count."""

    text: str


class Fold(msgspec.Struct, frozen=True, tag="fold"):
    """Blocks that open on demand."""

    summary: str
    blocks: tuple["Block", ...]


Block = Paragraph | Items | Table | Picture | Code | Fold


class Section(msgspec.Struct, frozen=True):
    """A heading and what is below it."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


class Page(msgspec.Struct, frozen=True):
    """A whole report."""

    title: str
    subtitle: str
    banners: tuple[str, ...]
    """What a reader must know before believing any number."""
    sections: tuple[Section, ...]
