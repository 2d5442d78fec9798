"""A benchmark is one file and one line, and its name stands nowhere else."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from bench.contracts import profile
from bench.judge.headline import PICKS, RATES
from bench.measure import MEASUREMENTS
from bench.predict.bounds.rules import RULES
from bench.predict.model import FITS
from bench.report.captions import NUMBERS
from bench.report.curves import SCALES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bench"

FILE = '''
"""A buffer that is set to zeros, by NumPy."""

import time

import numpy as np

from bench.contracts import Checked, Figure, Headline, Measurement, Profile
from bench.core.records import Work
from bench.measure.axes import BYTES, EACH, whole


class Zeroing:
    name = "zeroing"
    title = "a buffer set to zeros"
    axes = (BYTES, EACH)
    rank_agg = "max"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = False
    profile = Profile(
        family="writing",
        headline=Headline(
            pick="largest of each curve", what="Zeros written", rate="gbytes_per_s"
        ),
        figures=(
            Figure(
                name="zeroing",
                title="Zeros against size",
                draws="rates",
                see="Nothing is read; higher is better.",
                numbers="best and last",
                subject="Zeroing",
            ),
        ),
    )

    def work(self, case):
        return Work(bytes=whole(case, "bytes"), rate_bytes=whole(case, "bytes"))

    def columns(self, case):
        return {}

    def unsupported(self, case, context):
        return None

    def prepare(self, case, context):
        return _Buffer(case)


class _Buffer:
    idle = False
    overhead_s = None
    timing_layer = "numpy"

    def __init__(self, case):
        self._bytes = np.ones(whole(case, "bytes"), np.uint8)
        self.params = {}

    def run(self, seconds, loops):
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                self._bytes.fill(0)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops

    def verify(self, seed):
        self._bytes.fill(1)
        self._bytes.fill(0)
        return Checked(len(self._bytes), int(np.count_nonzero(self._bytes)))


BENCHMARKS: tuple[Measurement, ...] = (Zeroing(),)
'''

SUITE = """
[suite]
name = "written"
cap_s = 0.01

[[benchmark]]
name = "matmul"
batch = [1, 2, 4, 8]
k = 16
n = 16

[[benchmark]]
name = "zeroing"
bytes = { from = "1 KiB", to = "256 KiB", per_octave = 1 }

[[benchmark]]
name = "memcpy"
bytes = { from = "1 KiB", to = "256 KiB", per_octave = 1 }
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the program with one more file, and one more line."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(PACKAGE, root / "bench")
    shutil.copytree(ROOT / "suites", root / "suites")
    (root / "bench/measure/zeroing.py").write_text(FILE)
    registry = root / "bench/measure/__init__.py"
    lines = registry.read_text().replace('    "memcpy",\n', '    "memcpy",\n    "zeroing",\n')
    registry.write_text(lines)
    (root / "written.toml").write_text(SUITE)
    # Loops that are compiled once more, for another path, would take half a minute.
    (root / "numba.py").write_text("raise ImportError")
    return root


def command(tree: Path, *arguments: str) -> str:
    """Return what the program in that tree prints."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "bench", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout


def test_it_is_listed_with_its_model(tree):
    listed = json.loads(command(tree, "list", "--json"))
    names = list(listed["benchmarks"])
    assert names.index("zeroing") == names.index("memcpy") + 1
    assert listed["benchmarks"]["zeroing"]["title"] == "a buffer set to zeros"
    assert listed["models"]["zeroing"] == listed["models"]["memcpy"]


def test_it_is_planned_and_calibrated(tree):
    planned = command(tree, "plan", "written.toml", "--launcher", "local")
    assert "zeroing/bytes=262144" in planned


def test_it_runs_and_stands_in_the_report_in_its_place(tree):
    folder = command(tree, "run", "written.toml", "--launcher", "local").splitlines()[-1]
    text = (tree / folder / "report.md").read_text(encoding="utf-8")
    sections = [line.split(":")[0] for line in text.splitlines() if line.startswith("### ")]
    measured = [name.removeprefix("### ") for name in sections]
    assert [name for name in measured if name in ("memcpy", "zeroing", "matmul")] == [
        "memcpy",
        "zeroing",
        "matmul",
    ]
    # Its own figure with its own caption, between those of its neighbours.
    titles = ("Memory bandwidth against size", "Zeros against size", "Matrix product: time")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert re.search(r"Nothing is read; higher is better\. Zeroing reaches .* at 256 KiB", text)
    # Its own headline and family.
    assert "Zeros written at the largest size" in text
    assert re.search(r"^\| writing \|", text, re.MULTILINE)
    assert "no formula is known for zeroing" in text


ELSEWHERE = {
    "contracts/loops.py": {"copy"},  # a kernel of STREAM
    "rank/timing/interpreted.py": {"copy"},  # the same
    "predict/compose/cases.py": {"overlap", "exchange"},  # an axis, and a value of another
    "predict/model/composed/algorithms.py": {"broadcast", "scatter", "gather"},  # operations
    "predict/model/datasheet/cuts.py": {"broadcast", "scatter", "gather"},  # the same
    "predict/model/datasheet/collectives.py": {"latency"},  # what limits a time
    "predict/described.py": {"bandwidth"},  # the same
    "machine/description/former.py": {"latency"},  # a key of a machine file
    "report/background.py": {"latency"},  # a word of the glossary
}
"""Words that are names of benchmarks by chance: what they mean there."""


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_name_of_a_benchmark_stands_in_its_own_room_alone():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        names = MEASUREMENTS.keys() & set(texts(path))
        if not file.startswith("measure/") and names:
            found[file] = names
    assert found == ELSEWHERE


@pytest.mark.parametrize(
    ("kinds", "table"),
    [
        (profile.FitKind, FITS),
        (profile.BoundRule, RULES),
        (profile.HeadlinePick, PICKS),
        (profile.RateColumn, RATES),
        (profile.CaptionNumbers, NUMBERS),
    ],
)
def test_every_kind_that_can_be_declared_is_known_where_it_is_read(kinds, table):
    assert set(get_args(kinds)) == table.keys()


def test_every_quantity_is_drawn():
    products = {"product times", "product rates"}
    assert set(get_args(profile.Quantity)) == SCALES.keys() | products


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_what_a_benchmark_declares_goes_together(name):
    declared = MEASUREMENTS[name].profile
    assert declared.family
    if declared.bound == "collective" or declared.composition == "call":
        assert declared.operation is not None
    for figure in declared.figures:
        assert figure.see.endswith(".")
        assert not figure.ending or figure.numbers is not None


def test_figures_have_names_of_their_own():
    figures = {f for one in MEASUREMENTS.values() for f in one.profile.figures}
    assert len({figure.name for figure in figures}) == len(figures)


def test_every_file_of_benchmarks_is_in_the_order():
    every = (PACKAGE / "measure").rglob("*.py")
    files = {path for path in every if "\nBENCHMARKS" in path.read_text(encoding="utf-8")}
    modules = {type(one).__module__ for one in MEASUREMENTS.values()}
    assert {Path(sys.modules[module].__file__ or "") for module in modules} == files
