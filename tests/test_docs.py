"""The pages name what there is: suites, packages, columns, and the facts of rows."""

import csv
import re
from pathlib import Path

import pytest

from bench.core.records import COLUMNS, parse_params
from bench.measure import MEASUREMENTS

ROOT = Path(__file__).parent.parent
IN_COLUMNS = {*COLUMNS, "memory", "threads"}
"""Axes that a column tells: memory that of its end, threads what was in effect."""


def words_of(page: str) -> set[str]:
    """Return the words that a page shows as code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[ ,]+", code)}


def test_the_readme_names_every_suite():
    suites = {path.stem for path in (ROOT / "suites").glob("*.toml")}
    assert suites <= words_of("README.md")


def test_contributing_says_what_every_package_holds():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")]
    assert [name for name in packages if f"{name}/" not in text] == []


def test_results_names_every_column_and_every_axis():
    axes = {axis.name for measurement in MEASUREMENTS.values() for axis in measurement.axes}
    assert {*COLUMNS, *(axes - IN_COLUMNS)} <= words_of("docs/results.md")


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "results/reference").rglob("results.csv")),
    ids=lambda path: path.parent.name,
)
def test_results_names_the_facts_of_rows(path: Path):
    told = words_of("docs/results.md")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {name for row in rows for name in parse_params(row["params"])} <= told
    assert {row["timing_layer"].split("+")[0] for row in rows} <= {"", *told}
