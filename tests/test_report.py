"""The report: valid, self-contained, honest about what is missing, and deaf to hostile text."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from synthetic import ALL, write_run

from bench.core.records import About, Finding, Origin, Row
from bench.judge.table import load
from bench.report import build
from bench.report.about import describe_about
from bench.report.figures import FIGURES
from bench.report.markdown import escape
from bench.report.residuals import residuals
from bench.store.files import FIGURES_FOLDER, RESULTS_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.meta import write_meta
from bench.store.tables import csv_lines, header_line

HOSTILE = "<script>alert(1)</script> $\\frac{1}{0$ | **x** \n\x1b[31m \u202e `y` {{ 7*7 }} \u6f22"
VOID = {"meta", "link", "img", "br", "input", "hr"}


class PageReader(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(folder: Path, **kwargs) -> tuple[str, str]:
    """Build the report of a synthetic run; return page and Markdown."""
    page = build([write_run(folder / "run", **kwargs)], folder / "out")
    return page.read_text(), page.with_suffix(".md").read_text()


def figure_of(name: str, table: pd.DataFrame) -> Figure:
    """Return the figure of that name, of a table with its benchmarks."""
    figure = next(kind for kind in FIGURES if kind.name == name).draw(table, {})
    assert figure is not None
    return figure


DRAWN = [kind for kind in FIGURES if kind.name not in ("fleet", "hosts")]
"""All figures that a run of one node has; the others are those of several nodes and of pairs."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    findings = [
        Finding(name="no-gpu", level="note", text="no GPU here"),
        Finding(name="busy", level="warning", text="cores are busy", advice="run `top`"),
    ]
    run = write_run(folder / "run", benchmarks=[*ALL, "allreduce"], findings=findings)
    return build([run], folder / "out")


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            cells = re.split(r"(?<!\\)\|", line)
            assert cells[0] == cells[-1] == ""
            tables[-1].append(cells[1:-1])
        before = line
    return tables


def test_page_asks_nothing_of_any_network(whole):
    page = PageReader(whole.read_text())
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "data"}:
                assert value.startswith(("data:", "#"))
    style = re.search(r"<style>(.*?)</style>", whole.read_text(), re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_sections_come_answer_first(whole):
    text = PageReader(whole.read_text()).text
    titles = [
        "Result",
        "What to look at first",
        "Figures",
        "Predicted against measured",
        "All numbers",
        "The machine",
        "How it was measured",
        "Units and words",
    ]
    ids = [a["id"] for tag, a in PageReader(whole.read_text()).tags if tag == "section"]
    assert len(ids) == len(titles)
    assert all(title in text for title in titles)
    for needed in (
        "110 ns",
        "latency 8 B",
        "cores are busy",
        "seed 1",
        "Open MPI",
        "within one launch",
        "mpirun -n 2",
    ):
        assert needed in text, needed


def test_every_figure_is_there_as_svg_and_png_and_in_the_page(whole):
    images = [a for tag, a in PageReader(whole.read_text()).tags if tag == "img"]
    assert len(images) == len(DRAWN)
    assert all(len(image["alt"]) > 40 for image in images)
    for kind in DRAWN:
        folder = whole.parent / FIGURES_FOLDER
        root = ElementTree.parse(folder / f"{kind.name}.svg").getroot()  # noqa: S314 - our own
        assert root.tag.endswith("svg")
        assert next(root.iter("{http://www.w3.org/2000/svg}path"), None) is not None
        with Image.open(folder / f"{kind.name}.png") as picture:
            picture.load()
            assert picture.width > 700
            colours = picture.convert("RGB").getcolors(1 << 24)
        assert len(colours) > 10


def test_svgs_load_nothing(whole):
    for path in (whole.parent / FIGURES_FOLDER).glob("*.svg"):
        for element in ElementTree.parse(path).iter():  # noqa: S314 - our own
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))


def test_markdown_tables_are_well_formed(whole):
    text = whole.with_suffix(".md").read_text()
    tables = markdown_tables(text)
    assert len(tables) > 8
    for table in tables:
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(r" -{3}:? ", cell) for cell in table[1])
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert len(linked) == len(DRAWN)
    assert all((whole.parent / link).is_file() for link in linked)


def test_same_run_gives_same_bytes(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"])
    pages = [build([run], tmp_path / name) for name in ("a", "b")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    for kind in ("latency.png", "residuals.svg"):
        first, second = (page.parent / FIGURES_FOLDER / kind for page in pages)
        assert first.read_bytes() == second.read_bytes()


def test_hostile_text_is_text(tmp_path):
    run = write_run(
        tmp_path / "run",
        benchmarks=["latency"],
        suite_name=HOSTILE,
        host=HOSTILE,
        fail={"c0003": HOSTILE},
        skip={"c0005": HOSTILE},
        findings=[Finding(name="x", level="stop", text=HOSTILE, advice=HOSTILE)],
        params={"evil": HOSTILE.replace(";", "").replace("=", "")},
        env={"X": HOSTILE},
        facts={"12ab": {"host": HOSTILE}},
        refuse={"c0007": {"formula": HOSTILE, "seconds": None}},
    )
    page = build([run, run], tmp_path / "out")
    reader = PageReader(page.read_text())
    assert {tag for tag, _ in reader.tags} & {"script", "x"} == set()
    assert "<script>alert(1)</script>" in reader.text
    assert "{{ 7*7 }}" in reader.text
    assert not any(c in page.read_text() for c in "\x1b\u202e")
    text = page.with_suffix(".md").read_text()
    outside_code = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert "<script>" not in outside_code
    for table in markdown_tables(text):
        assert len({len(row) for row in table}) == 1


def test_hostile_axes_reach_figures_as_text(tmp_path, monkeypatch):
    import synthetic

    def with_hostile_axis(benchmarks):
        return [
            synthetic.Case(id=f"h{i}", benchmark="latency", axes={"bytes": size, "memory": memory})
            for i, (size, memory) in enumerate(
                (size, memory) for size in (1, 8, 64, 512) for memory in (HOSTILE, "host")
            )
        ]

    monkeypatch.setattr(synthetic, "cases", with_hostile_axis)
    page = build([synthetic.write_run(tmp_path / "run", benchmarks=["latency"])], tmp_path / "out")
    assert (page.parent / FIGURES_FOLDER / "latency.svg").is_file()


@pytest.mark.parametrize("text", ["a|b", "*a*", "<b>", "a\nb", "[x](y)", "`z`", "# t", "\\"])
def test_markdown_escapes(text):
    escaped = escape(text)
    assert "\n" not in escaped
    assert re.sub(r"\\(.)", "", escaped) == re.sub(r"[\\`*_{}\[\]<>#|]", "", " ".join(text.split()))


def test_a_killed_run_says_so_and_shows_what_there_is(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency", "memcpy"], keep=25, outcome=None)
    path = run.path / RESULTS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    page = build([run], tmp_path / "out").read_text()
    text = PageReader(page).text
    assert "The run has not ended, or was killed: 24 of 40 planned rows hold a number." in text
    assert "24 ok, 0 failed, 16 not measured, 0 skipped" in text
    assert "run the suite again and let it end" in text


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {
                "predict": False,
                "outcome": "interrupted",
                "origin": Origin.SIMULATED,
                "params": {"oversubscribed": 1},
                "keep": 20,
            },
            (
                "no prediction could be scored",
                "The run is interrupted: 20 of 23 planned rows hold a number.",
                "are simulated, not measured",
                "20 rows were measured with more ranks than cores",
                "Nothing was measured that a headline could be made of.",
            ),
        ),
        ({"keep": 0}, ("There is nothing to draw", "23 not measured")),
        ({"keep": 1}, ("22 not measured",)),
        ({"launches": 7, "spread": 0.01}, ("intervals of the median over launches",)),
        ({"launches": 3, "spread": 0.01}, ("Small dots are single launches",)),
        (
            {"fail": {f"c{i:04d}": "no such device" for i in range(23)}},
            ("23 rows failed: no such device", "There is nothing to draw"),
        ),
    ],
)
def test_runs_that_are_not_whole(tmp_path, kwargs, words):
    page, markdown = report(tmp_path, benchmarks=["latency"], **kwargs)
    text = PageReader(page).text
    for word in words:
        assert word in text
        assert word in markdown.replace("\\", "")


def test_one_single_case(tmp_path):
    page, _ = report(tmp_path, benchmarks=["matmul"], keep=1, predict=False)
    assert "Matrix product, best" in PageReader(page).text
    with Image.open(tmp_path / "out" / FIGURES_FOLDER / "matmul_time.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 5


def test_only_products(tmp_path):
    page, _ = report(tmp_path, benchmarks=["matmul"])
    names = {path.stem for path in (tmp_path / "out" / FIGURES_FOLDER).glob("*.svg")}
    assert names == {"matmul_time", "matmul_rate", "residuals", "samples"}
    # 33 rows fill two tiles of 32: the truth behind the largest step of the synthetic world.
    assert re.search(r"Deepest here: matmul 33 x 1000 x 1000 fp\d\d reaches 4\d %", page)


def test_figures_of_an_earlier_report_are_removed(tmp_path):
    for benchmark in ("latency", "memcpy"):
        run = write_run(tmp_path / benchmark, benchmarks=[benchmark], predict=False)
        build([run], tmp_path / "out")
    folder = tmp_path / "out" / FIGURES_FOLDER
    assert not (folder / "latency.svg").exists()
    assert (folder / "memory.svg").exists()


def test_several_runs_stand_beside_each_other(tmp_path):
    runs = [
        write_run(tmp_path / name, benchmarks=["latency"], spread=0.0, error=error)
        for name, error in (("before", 0.07), ("after", 0.2))
    ]
    text = PageReader(build(runs, tmp_path / "out").read_text()).text
    assert "A: run before, quick, started" in text
    assert "What A B" in text
    assert text.count("Run A:") == text.count("Run B:") > 3


def test_copies_of_one_run_stay_apart(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"], predict=False)
    text = PageReader(build([run, run], tmp_path / "out").read_text()).text
    assert "A: run run, quick" in text
    assert "B: run run, quick" in text


def test_anonymised_pages_name_no_one(tmp_path):
    uuid = "GPU-12345678-9abc-def0-1234-56789abcdef0"
    facts = {
        "0123456789abcdef": {
            "host": "gpu07.cs.example.org",
            "environment": {"LD_LIBRARY_PATH": "/home/ada/lib:/opt/site/lib"},
        }
    }
    run = write_run(
        tmp_path / "run",
        benchmarks=["latency"],
        host="gpu07.cs.example.org",
        facts=facts,
        fail={"c0003": "ada@gpu07: -L/home/ada/x died at 10.1.2.3, " + uuid},
        findings=[
            Finding(name="x", level="note", text=f"gpu07 has {uuid} at 1.5 GB/s"),
            Finding(name="w", level="note", text="br0 has fd00:ad::7/64 and fd01:1:2:3:4:5:6:ad"),
            Finding(name="y", level="note", text="gpu[06-08].cs.example.org: cores of x are one"),
            Finding(
                name="z",
                level="note",
                text="cores of one node are slow",
                about=About(("c0001",), ("lost99",), ("gpu07.cs.example.org:nic1", "lost98:gpu0")),
                value="/home/ada/x",
                limit="10.1.2.3",
            ),
        ],
        env={"OMPI_FLAGS": "/scratch/ada/a b"},
        predict=False,
    )
    page = build([run], tmp_path / "out", anonymise=True)
    named = build([run], tmp_path / "named")
    assert "gpu07" in named.read_text()
    assert "Small-message latency 110 ns latency 1 B" in PageReader(page.read_text()).text
    for text in (PageReader(page.read_text()).text, page.with_suffix(".md").read_text()):
        assert "cores of x are one" in text
        for secret in (
            "gpu07",
            "lost9",
            "gpu[",
            "example.org",
            "ada",
            "/home",
            "/scratch",
            "12345678",
            "10.1.2.3",
            "fd0",
        ):
            assert secret not in text, secret
        assert "h0" in text
        assert "h0:nic1, h" in text
        assert "1.5 GB/s" in text


def test_counts_of_hosts_are_no_names_to_hide(tmp_path):
    found = Finding(name="x", level="note", text="gpu02 has 110 links")
    run = write_run(tmp_path / "run", benchmarks=["latency"], findings=[found], predict=False)
    run.meta.measured.flags["hosts"] = "gpu[01-02]:110"
    write_meta(run.path, run.meta)
    page = build([open_run(run.path)], tmp_path / "out", anonymise=True)
    text = PageReader(page.read_text()).text
    assert " has 110 links" in text
    assert "gpu02" not in text


def named(text: str = "x", **fields) -> Finding:
    return Finding(name="x", level="note", text=text, **fields)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (named(), None),
        (named(about=About(hosts=("n1", "n2", "n3"))), "n[1-3]"),
        (named(text="n[1-3]: so", about=About(hosts=("n1", "n2", "n3"))), None),
        (named(text="n12: so", about=About(hosts=("n1",))), "n1"),
        (
            named(
                about=About(("a/b=1",), ("n1", "n2"), ("n1:gpu2", "n2:gpu2")),
                value=8,
                limit=16,
                unit="lanes",
            ),
            "n[1-2]:gpu2; a/b=1; 8 against 16 lanes",
        ),
        (
            named(about=About(parts=("[fd00::12]:nic3:tx", "sw4:port7:rx"))),
            "fd00::12:nic3:tx, sw4:port7:rx",
        ),
        (named(about=About(tuple("abcdef")), value=0.5, unit="ratio"),
         "a, b, c, d and 2 more cases; 0.5"),
        (named(value=2.5e9, limit=1e10, unit="B/s"), "2.50 GB/s against 10.0 GB/s"),
        (named(value=2**31, unit="B"), "2 GiB"),
        (named(value=10**4000, unit="s"), "1" + "0" * 96 + "..."),
        (named(value="a\x1b", limit=""), "a\\x1b against "),
    ],
)  # fmt: skip
def test_what_a_finding_is_about_is_told_in_a_few_words(finding, words):
    assert describe_about(finding) == words


def test_what_a_finding_is_about_stands_below_it(tmp_path):
    finding = named(about=About((), ("<b>1",), ("n1:gpu2",)), value=8, limit=16, unit="lanes")
    page, markdown = report(tmp_path, benchmarks=["latency"], findings=[finding])
    assert "About: n1:gpu2; 8 against 16 lanes" in PageReader(page).text
    assert "  - about: n1:gpu2; 8 against 16 lanes\n" in markdown


def test_nothing_temporary_is_left(whole):
    assert {path.name for path in whole.parent.iterdir()} == {
        "report.html",
        "report.md",
        FIGURES_FOLDER,
    }


def test_measured_calibration_predicted_and_bound_never_share_a_style(tmp_path):
    table = load(write_run(tmp_path / "run", benchmarks=["latency"]))
    table["bound_s"] = 50e-9
    (axes,) = figure_of("latency", table).axes
    sizes = {stage: list(lines["size"]) for stage, lines in table.groupby("stage")}
    drawn: dict[str, list[float]] = {}
    for line in axes.get_lines():
        hollow = line.get_marker() == "o" and line.get_markerfacecolor() == "white"
        style = "hollow" if hollow else f"{line.get_linestyle()}{line.get_marker()}"
        drawn[style] = list(line.get_xdata())
    assert drawn["hollow"] == sizes["calibrate"]
    assert drawn["Noneo"] == sizes["target"]
    assert drawn["--None"] == sizes["target"]
    assert drawn[":None"] == sorted(table["size"])


def test_residuals_are_the_errors_of_held_out_cases_alone(tmp_path):
    table = load(write_run(tmp_path / "run", benchmarks=["latency"], error=-0.07))
    (axes,) = residuals(table).axes
    points = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in points) == 11
    assert all(y == pytest.approx(-7) for line in points for y in line.get_ydata())


def test_both_sides_of_a_tile_stand_side_by_side(tmp_path):
    table = load(write_run(tmp_path / "run", benchmarks=["matmul"]))
    _, edges = figure_of("matmul_rate", table).axes
    labels = [label.get_text() for label in edges.get_xticklabels()]
    assert labels == ["31", "32", "33", "63", "64", "65", "127", "128", "129"]
    places = edges.get_xticks()
    assert places[1] - places[0] < places[3] - places[2]


def test_sizes_are_labelled_in_iec_units(tmp_path):
    (axes,) = figure_of("latency", load(write_run(tmp_path / "run", benchmarks=["latency"]))).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == "1 B"
    assert "4 KiB" in labels
    assert len(labels) <= 8


def bounded(run: RunFolder, seconds: float | None, source: str) -> RunFolder:
    """Give every row of a run the same bound."""
    rows = [
        msgspec.structs.replace(
            row,
            bound_s=seconds,
            bound_source=source,
            fraction_of_bound=seconds and row.t_median_s and seconds / row.t_median_s,
        )
        for row in run.rows()
    ]
    path = run.path / RESULTS_FILE
    path.write_text(header_line(Row) + csv_lines(rows))
    return open_run(run.path)


def test_why_there_is_no_bound_is_said_once_for_a_benchmark(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency", "memcpy"])
    text = build([bounded(run, None, "none: nobody knows")], tmp_path / "page").read_text()
    assert text.count("No bound: nobody knows.") == 2
    assert (
        f"Bounds of {len(run.rows())} cases: {len(run.rows())} have neither, and the reason" in text
    )


def test_a_bound_that_is_beaten_is_looked_at_first_and_one_that_holds_is_not(tmp_path):
    run = write_run(tmp_path / "run", benchmarks=["latency"])
    fast = build([bounded(run, 120e-9, "50 MB/s")], tmp_path / "page").read_text()
    assert "faster than their bound by over 2 %; latency 1 B reaches 109 % of it (50 MB/s)" in fast
    held = build([bounded(run, 111e-9, "50 MB/s")], tmp_path / "page").read_text()
    assert "faster than their bound" not in held
    assert "Of bound" in held


def test_a_bound_far_above_a_panel_is_said_and_a_near_one_drawn(tmp_path):
    table = load(write_run(tmp_path / "run", benchmarks=["bandwidth"]))
    best = float(table["gbytes_per_s"].max())
    for times, above in ((2.0, False), (10.0, True)):
        table["bound_s"] = table["size"] / (times * best * 1e9)
        (axes,) = figure_of("bandwidth", table).axes
        said = [text.get_text() for text in axes.texts]
        assert ("above the panel" in " ".join(said)) == above
        assert (axes.get_ylim()[1] > times * best) == (not above)
