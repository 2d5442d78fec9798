"""The page of odd machines names a test for each kind of them, or says why there is none."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "odd-machines.md").read_text(encoding="utf-8")
KINDS = 26
SECTIONS = re.findall(r"^## (\d+)\. ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
NOT_HERE = re.compile(r"cannot\s+be\s+(tried|made)\s+here", re.I)


@functools.cache
def find_tests(file: str) -> frozenset[str]:
    """Return the names of the tests in a file; none where it is not there."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_page_has_all_kinds_in_order():
    assert [int(number) for number, _, _ in SECTIONS] == list(range(1, KINDS + 1))


@pytest.mark.parametrize(("number", "title", "text"), SECTIONS, ids=[s[0] for s in SECTIONS])
def test_each_kind_is_held_by_tests_that_exist_or_says_why_not(number, title, text):
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert named or NOT_HERE.search(text), f"{number}. {title}: no test, and no reason"
    assert [f"{file}::{name}" for file, name in named if name not in find_tests(file)] == []
    assert all(name.startswith("test_") for _, name in named)
    # Besides its tests it says what the harness does.
    assert re.sub(r"^- .*$", "", text, flags=re.M).strip()
