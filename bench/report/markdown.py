"""The page as Markdown: readable as plain text, and wherever repositories are shown."""

import re

from bench.report.page import Block, Code, Fold, Item, Items, Page, Paragraph, Picture, Table, clean

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def render_markdown(page: Page) -> str:
    """Return the page as Markdown, figures as links to the files beside it."""
    lines = [f"# {escape(page.title)}", "", escape(page.subtitle), ""]
    for banner in page.banners:
        lines += [f"> **{escape(banner)}**", ""]
    for section in page.sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Return text as Markdown shows it literally, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(text).split()))


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph(text):
            return [escape(text)]
        case Items(items):
            return [line for item in items for line in _item(item)]
        case Table():
            return _table(block)
        case Picture():
            image = f"![{escape(block.title)}](figures/{block.name}.svg)"
            return [f"### {escape(block.title)}", "", image, "", escape(block.caption)]
        case Code(text):
            return [f"    {line}" for line in clean(text).split("\n")]
        case Fold(summary, blocks):
            inner = [line for part in blocks for line in [*_block(part), ""]]
            return [f"### {escape(summary)}", "", *inner]


def _item(item: Item) -> list[str]:
    about = [f"  - about: {escape(item.about)}"] if item.about else []
    advice = [f"  - next: {escape(item.advice)}"] if item.advice else []
    return [f"- **{escape(item.level)}:** {escape(item.text)}", *about, *advice]


def _table(table: Table) -> list[str]:
    marks = ("---" if i in table.words else "---:" for i in range(len(table.header)))
    rows = [table.header, tuple(marks), *table.rows]
    return [
        "| " + " | ".join(cell if i == 1 else escape(cell) for cell in row) + " |"
        for i, row in enumerate(rows)
    ]
