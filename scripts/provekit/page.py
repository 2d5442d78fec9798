"""What a proof printed, written into its page between two comments."""

import sys
from pathlib import Path

END = "<!-- measured: end -->"


def begin_of(by: str) -> str:
    """Return the comment that begins what a program, or a part of one, wrote."""
    return f"<!-- measured by {by}: begin -->"


def write_measured(page: Path, text: str, by: str | None = None) -> None:
    """Replace what stands between the comments of a page; no other part of it.

    Args:
        page: Markdown.
        text: what takes its place.
        by: what the first comment names; the running program if not given.

    Raises:
        ValueError: where the page does not have both comments, in this order, exactly once.
    """
    begin = begin_of(by or Path(sys.argv[0]).name)
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end or begin in after:
        raise ValueError(f"{page} does not have {begin} and {END} behind it exactly once")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")
