"""`clusterbench compare`: what it prints, writes and exits with."""

import json
import re
from pathlib import Path

import pytest
from two_sides import write_side

from bench.cli import run_command
from bench.core.verdict import Outcome
from bench.judge.compare.compare import compare_runs
from bench.judge.compare.records import Aspect
from bench.judge.compare.sides import open_sides
from bench.report.compare import build_comparison
from bench.report.compare.picture import MOST_NAMED, lay_out
from bench.store.hashes import file_hashes
from bench.store.verdicts import read_verdicts

ODD = "c0005"


def sides(folder: Path, factor: float = 1.0, **asked: object) -> list[str]:
    """Return the paths of two runs, the second one so many times as slow."""
    a = write_side(folder / "a", **asked)
    b = write_side(folder / "b", factor, seed=2, **asked)
    return [str(a.path), str(b.path)]


@pytest.mark.parametrize(
    ("factor", "noise", "word", "code"),
    [
        (1.0, 0.0005, "SAME", 0),
        (0.9, 0.0005, "FASTER", 0),
        (1.1, 0.0005, "SLOWER", 1),
        (1.0, 0.05, "CANNOT TELL", 3),
    ],
)
def test_the_word_comes_first_and_is_the_exit_code(tmp_path, capsys, factor, noise, word, code):
    paths = sides(tmp_path, factor, noise=noise)
    assert run_command(["compare", *paths, "--no-report"]) == code
    (first, *_) = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{word}: B against A: ")
    kept = read_verdicts(tmp_path / "b")["compare"]
    assert kept.outcome == word
    assert first == f"{word}: {kept.reason}"


def test_the_page_lies_beside_that_of_the_run(tmp_path, capsys):
    paths = sides(tmp_path)
    assert run_command(["compare", *paths]) == 0
    page = tmp_path / "b" / "compare.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {page}"
    assert page.is_file()
    assert (tmp_path / "b" / "figures" / "compare.png").is_file()
    # The folder of a run is still that of a run, and a page is no part of what was measured.
    assert "compare.html" not in file_hashes(tmp_path / "b")
    assert run_command(["report", paths[1]]) == 0
    assert page.is_file()


def test_json_holds_every_answer_and_the_verdict(tmp_path, capsys):
    paths = sides(tmp_path, 1.1)
    assert run_command(["compare", *paths, "--json", "--no-report"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["outcome"] == "SLOWER"
    assert found["report"] is None
    (held,) = found["held"]
    answer = held["results"][0]["answer"]
    assert answer["low"] < answer["ratio"] < answer["high"]
    assert answer["least_change"] > 1
    assert not (tmp_path / "b" / "compare.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{a}"], "one run alone is nothing to compare"),
        (["{a}", "{a}"], "are one run"),
        (["{a}", "nowhere"], "no run folder"),
        (["{a}", "{b}", "--margin", "much"], "--margin"),
        (["{a}", "{b}", "--margin", "0"], "more than 0 and at most 50%"),
        (["{a}", "{b}", "--margin", "60%"], "more than 0 and at most 50%"),
        (["{a}", "{b}", "--by-label"], "has no label"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, words):
    a, b = sides(tmp_path, launches=1)
    assert run_command(["compare", *(one.format(a=a, b=b) for one in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_the_margin_is_read_as_a_percentage_or_a_number(tmp_path):
    paths = sides(tmp_path, 1.03)
    assert run_command(["compare", *paths, "--no-report"]) == 1
    assert run_command(["compare", *paths, "--no-report", "--margin", "6%"]) == 0
    assert run_command(["compare", *paths, "--no-report", "--margin", "0.06"]) == 0


def test_three_sides_have_a_picture_and_a_verdict_each(tmp_path, capsys):
    a, b = sides(tmp_path, 0.9)
    c = write_side(tmp_path / "c", 1.2, seed=3)
    out = tmp_path / "page"
    assert run_command(["compare", a, b, str(c.path), "-o", str(out)]) == 1
    text = capsys.readouterr().out
    assert re.findall(r"^(\w+): (.) against A", text, re.M) == [("FASTER", "B"), ("SLOWER", "C")]
    assert {path.name for path in (out / "figures").glob("*.svg")} == {
        "compare-1.svg",
        "compare-2.svg",
    }
    assert read_verdicts(tmp_path / "b")["compare"].outcome is Outcome.FASTER
    assert read_verdicts(tmp_path / "c")["compare"].outcome is Outcome.SLOWER
    assert "compare" not in read_verdicts(tmp_path / "a")


def test_names_from_files_are_harmless_on_the_page_and_in_the_text(tmp_path, capsys):
    evil = "\x1b[31m<script>alert(1)</script>$x$"
    a = write_side(tmp_path / "a", label=evil, host="<b>node</b>")
    b = write_side(
        tmp_path / "b",
        1.5,
        seed=2,
        label=evil,
        change=lambda row: {"timing_layer": evil} if row.case == ODD else {},
    )
    run_command(["compare", str(a.path), str(b.path)])
    assert "\x1b" not in capsys.readouterr().out
    page = (tmp_path / "b" / "compare.html").read_text()
    assert "<script>" not in page
    assert "<b>node" not in page
    assert "&lt;script&gt;" in page
    assert run_command(["compare", str(a.path), str(b.path), "--by-label"]) == 2


def test_a_page_that_cannot_be_written_costs_no_verdict(tmp_path, capsys):
    paths = sides(tmp_path, 1.1)
    (tmp_path / "b" / "figures").write_text("in the way")
    assert run_command(["compare", *paths]) == 1
    shown = capsys.readouterr()
    assert "no page was written" in shown.err
    assert "-o DIR" in shown.err
    assert shown.out.startswith("SLOWER")
    (tmp_path / "file").write_text("")
    assert run_command(["compare", *paths, "-o", str(tmp_path / "file")]) == 4


@pytest.mark.parametrize("benchmarks", [["message_rate"], ["latency", "bandwidth", "memcpy"]])
def test_every_case_has_its_place_in_the_picture(tmp_path, benchmarks):
    # All of few cases have their names, of many those that changed.
    paths = sides(tmp_path, benchmarks=benchmarks)
    write_side(tmp_path / "c", lambda row: 1.1 if row.case == ODD else 1.0, benchmarks=benchmarks)
    comparison = compare_runs(open_sides([Path(paths[0]), tmp_path / "c"]))
    levels = comparison.held[0].results
    bars = lay_out(levels)
    assert len(bars) == len(levels)
    places = [bar.y_in for bar in bars]
    assert places == sorted(places)
    assert bars[0].result.case == ODD
    assert bars[0].is_named
    few = len(levels) <= MOST_NAMED
    assert all(bar.is_named for bar in bars) is few
    assert places[-1] < 8
    path = build_comparison(comparison, tmp_path / "page")
    assert "SLOWER: B against A" in path.read_text()
    assert "data:image/svg+xml" in path.read_text()
    assert "(figures/compare.svg)" in path.with_suffix(".md").read_text()


def test_the_same_comparison_makes_the_same_bytes(tmp_path):
    paths = sides(tmp_path)
    comparison = compare_runs(open_sides([Path(path) for path in paths]))
    pages = [build_comparison(comparison, tmp_path / name).read_text() for name in ("x", "y")]
    assert pages[0] == pages[1]
    # And it asks nothing of any network.
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", pages[0])


def launches_to_see(capsys, *arguments: str) -> dict[str, float]:
    """Return what `plan` says of the launches that it takes to see a change."""
    asked = ["plan", "quick", "--launcher", "local", "--json", "--to-see", *arguments]
    assert run_command(asked) == 0
    found: dict[str, float] = json.loads(capsys.readouterr().out)["launches_to_see"]
    return found


def test_a_plan_says_how_many_launches_it_takes_to_see_a_change(capsys):
    usual = launches_to_see(capsys, "5%", "--noise", "1%")
    assert 6 < usual["launches"] < 12
    assert usual["launches"] == usual["most_launches"]
    assert launches_to_see(capsys, "25%", "--noise", "1%")["launches"] == 6
    assert launches_to_see(capsys, "5%", "--noise", "2%")["launches"] > usual["launches"]
    assert launches_to_see(capsys, "2%", "--noise", "1%")["launches"] > usual["launches"]
    # Within the margin a change is none.
    assert launches_to_see(capsys, "1%", "--noise", "0.1%")["launches"] is None


def test_the_noise_of_an_earlier_run_is_found(tmp_path, capsys):
    run = write_side(tmp_path / "a", noise=0.02, launches=20)
    found = launches_to_see(capsys, "5%", "--noise-of", str(run.path))
    assert found["noise"] == pytest.approx(0.02, rel=0.25)
    assert found["most_noise"] > found["noise"]
    assert found["most_launches"] > found["launches"]
    told = launches_to_see(capsys, "5%", "--noise", f"{found['noise']:.6f}")
    assert told["launches"] == found["launches"]


def test_what_a_plan_sees_a_comparison_sees(tmp_path, capsys):
    # As many launches as are asked for show the change in nearly all of its cases.
    asked = ["plan", "quick", "--launcher", "local", "--to-see", "5%", "--noise", "1%"]
    assert run_command(asked) == 0
    (line,) = re.findall(r"is seen .* from (\d+) launches", capsys.readouterr().out)
    a = write_side(tmp_path / "a", noise=0.01, launches=int(line))
    b = write_side(tmp_path / "b", 1.05, noise=0.01, launches=int(line), seed=2)
    (held,) = compare_runs(open_sides([a.path, b.path])).held
    slower = held.of(Aspect.LEVEL, Outcome.SLOWER)
    assert len(slower) >= 0.8 * len(held.of(Aspect.LEVEL))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to-see", "5%"], "takes one of --noise and --noise-of"),
        (["--noise", "5%"], "takes one of --noise and --noise-of"),
        (["--to-see", "5%", "--noise", "1%", "--noise-of", "x"], "takes one of"),
        (["--to-see", "0", "--noise", "1%"], "--to-see 0: give more than 0"),
        (["--to-see", "5%", "--noise", "lots"], "--noise: 'lots' is no share"),
        (["--to-see", "5%", "--noise-of", "{one}"], "no case has 3 launches"),
    ],
)
def test_a_wrong_question_about_launches_is_one_line(tmp_path, capsys, arguments, words):
    one = write_side(tmp_path / "one", launches=1).path
    named = [argument.format(one=one) for argument in arguments]
    assert run_command(["plan", "quick", "--launcher", "local", *named]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
