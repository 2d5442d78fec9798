"""What differs between two suites, block by block."""

import difflib
import tomllib
from collections.abc import Iterator
from typing import Any

from bench.judge.changed.records import Difference, Kind, compare_maps, differ

_MOST_LINES = 5
"""Of texts that are no suites."""
_NO_MATTER = ("name", "description", "launches")
"""Keys of a suite's head that change nothing of a launch."""


def find_suite_changes(a: str, b: str) -> Iterator[Difference]:
    """Yield the keys in which two suites differ; a benchmark that one alone has is one of them."""
    if a == b:
        return
    blocks_a, blocks_b = _read_blocks(a), _read_blocks(b)
    if blocks_a is None or blocks_b is None:
        yield from _compare_lines(a, b)
        return
    for name in dict.fromkeys((*blocks_a, *blocks_b)):
        of_a, of_b = blocks_a.get(name), blocks_b.get(name)
        if of_a is None or of_b is None:
            there = ("not there" if block is None else "there" for block in (of_a, of_b))
            yield differ(Kind.SUITE, name, *there)
        else:
            yield from compare_maps(Kind.SUITE, f"{name}.", of_a, of_b)


def _compare_lines(a: str, b: str) -> Iterator[Difference]:
    lines = [
        line
        for line in difflib.unified_diff(a.splitlines(), b.splitlines(), lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    for line in lines[:_MOST_LINES]:
        words = line[1:].strip(), "not there"
        yield differ(Kind.SUITE, "line", *(words if line[0] == "-" else words[::-1]))


def _read_blocks(text: str) -> dict[str, dict[str, str]] | None:
    """Return the values of each block by their keys, such as `bytes.from`; None if it is no suite.

    Blocks of one name are numbered from the second on.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    blocks: dict[str, dict[str, str]] = {}
    for name, value in document.items():
        several = value if isinstance(value, list) else [value]
        for block in several:
            called = block.get("name") if isinstance(block, dict) else None
            key = name if value is block else f"{name}[{called}]"
            number = sum(each == key or each.startswith(f"{key} #") for each in blocks)
            blocks[f"{key} #{number}" if number else key] = {
                path: words
                for path, words in _flatten("", block)
                if name != "suite" or path not in _NO_MATTER
            }
    return blocks


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _flatten(f"{path}.{name}" if path else name, each)
    else:
        yield path, str(value)
