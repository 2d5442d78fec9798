"""The end of a CSV file that may be torn: up to where it is whole rows.

A crash leaves the beginning of the last write, or zero bytes in its place. A quote that was added
or lost in the middle of a file looks alike at first, but whole rows follow it: they are not thrown
away, its line is named.
"""

import mmap
import re
from collections.abc import Iterator

from bench.core.errors import RequestError

Content = bytes | bytearray | mmap.mmap

_CHUNK = 1 << 20
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')
_BESIDE_FIELD = b",\r\n"


def whole_end(content: Content) -> int:
    """Return the offset up to which a CSV file is whole rows: its last newline outside quotes.

    A zero byte ends the file. Time is linear in the size.

    Raises:
        RequestError: where a quote never ends and whole rows follow it: the line, without the name
            of the file.
    """
    end = content.rfind(b"\n", 0, _find_zero(content)) + 1
    if sum(chunk.count(b'"') for chunk in _chunks(content, end)) % 2 == 0:
        return end
    opening = _find_unclosed(content, end)
    if _are_rows_behind(content, opening, end):
        line = content[:opening].count(b"\n") + 1
        raise RequestError(
            f"line {line} has a quote that never ends, and whole rows follow it; the file was "
            "changed or damaged"
        )
    return _row_start(content, opening)


def _chunks(content: Content, end: int) -> Iterator[bytes | bytearray]:
    # A mapped file counts nothing itself; in pieces it is never copied whole.
    for start in range(0, end, _CHUNK):
        yield content[start : min(start + _CHUNK, end)]


def _find_zero(content: Content) -> int:
    """Return the offset of the first zero byte, the size where there is none."""
    start = 0
    for chunk in _chunks(content, len(content)):
        found = chunk.find(b"\0")
        if found >= 0:
            return start + found
        start += len(chunk)
    return start


def _find_unclosed(content: Content, end: int) -> int:
    """Return the offset of the first quote that neither opens nor closes a field as it should.

    There is one, since their number is odd. Behind it all others have changed their meaning.
    """
    opening = content.find(b'"', 0, end)
    while True:
        field = _QUOTED.match(content, opening, end)
        if field is None or not _is_field(content, *field.span()):
            return opening
        opening = content.find(b'"', field.end(), end)


def _is_field(content: Content, start: int, end: int) -> bool:
    before, behind = content[max(start - 1, 0) : start], content[end : end + 1]
    return before in _BESIDE_FIELD and behind in _BESIDE_FIELD


def _are_rows_behind(content: Content, quote: int, end: int) -> bool:
    """Return whether a line behind that of a quote has as many commas as the header.

    The text of a torn row may hold newlines, but its lines are not made like rows.
    """
    commas = content[: content.find(b"\n") + 1].count(b",")
    start = content.find(b"\n", quote, end) + 1
    while start < end:
        behind = content.find(b"\n", start, end) + 1
        if content[start:behind].count(b",") == commas:
            return True
        start = behind
    return False


def _row_start(content: Content, opening: int) -> int:
    """Return where the row begins whose quote opens there; earlier fields may hold newlines."""
    while True:
        closing = content.rfind(b'"', 0, opening)
        start = content.rfind(b"\n", closing + 1, opening) + 1
        if start or closing < 0:
            return start
        opening = content.rfind(b'"', 0, closing)
