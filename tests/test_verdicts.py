"""Verdicts: the closed list and its exit codes, the rule of several, and the file of a run."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import write_run

from bench.cli import run_command
from bench.cli.ending import verdict_code
from bench.core.errors import RequestError, StorageError
from bench.core.records import About, Finding, Row, Status
from bench.core.verdict import Gravity, Outcome, RowKey, Verdict
from bench.judge.score import score
from bench.judge.verdicts import MOST_REASONS, MOST_ROWS, judge_rows, judge_score, key_of, sum_up
from bench.store import verdicts as store
from bench.store.files import LOCK_FILE, VERDICTS_FILE
from bench.store.lock import lock_run
from bench.store.verdicts import keep_verdict, read_verdicts, write_verdicts

CODES = {
    Outcome.PASS: 0,
    Outcome.SAME: 0,
    Outcome.FASTER: 0,
    Outcome.CLEAR: 0,
    Outcome.FAIL: 1,
    Outcome.SLOWER: 1,
    Outcome.ACCUSED: 1,
    Outcome.AMBIGUOUS: 3,
    Outcome.NOT_MEASURED: 3,
    Outcome.CANNOT_TELL: 3,
    Outcome.FAILED_ROWS: 4,
}
BEATS = (1, 4, 3, 0)
"""Exit codes, the one that decides first."""


def verdict(outcome: Outcome, reason: str = "because", **more) -> Verdict:
    return Verdict(claim="all is well", outcome=outcome, reason=reason, **more)


# The closed list.


def test_every_outcome_has_its_exit_code():
    assert set(CODES) == set(Outcome)
    for outcome, code in CODES.items():
        assert verdict_code(verdict(outcome)) == code, outcome


def test_an_outcome_is_said_in_the_words_of_the_list():
    assert verdict(Outcome.NOT_MEASURED).text == "NOT MEASURED: because"
    assert verdict(Outcome.CANNOT_TELL).text == "CANNOT TELL: because"
    assert verdict(Outcome.FAILED_ROWS).text == "FAILED ROWS: because"
    assert verdict(Outcome.CLEAR).text == "nothing accused: because"


def test_no_word_outside_the_list_is_read():
    text = msgspec.json.encode(verdict(Outcome.PASS)).replace(b"PASS", b"FINE")
    with pytest.raises(msgspec.ValidationError, match="FINE"):
        msgspec.json.decode(text, type=Verdict)


# Several verdicts.

outcomes = st.lists(st.sampled_from(list(Outcome)), max_size=12)


@given(outcomes, st.randoms(use_true_random=False))
def test_of_several_one_beats_four_beats_three_beats_none(
    found: list[Outcome], order: random.Random
):
    one = sum_up("all", [verdict(outcome) for outcome in found])
    wanted = min((CODES[outcome] for outcome in found), key=BEATS.index, default=3)
    assert verdict_code(one) == wanted
    assert one.outcome in found or (not found and one.outcome is Outcome.NOT_MEASURED)
    order.shuffle(found)
    assert sum_up("all", [verdict(outcome) for outcome in found]).outcome is one.outcome


@given(st.lists(outcomes.filter(bool), min_size=1, max_size=4))
def test_sums_of_sums_are_the_sum(groups: list[list[Outcome]]):
    sums = [sum_up("some", [verdict(outcome) for outcome in group]) for group in groups]
    flat = [verdict(outcome) for group in groups for outcome in group]
    assert sum_up("all", sums).outcome is sum_up("all", flat).outcome


@given(outcomes)
def test_a_sum_is_good_only_where_something_was_judged_and_all_of_it_is_good(found: list[Outcome]):
    good = sum_up("all", [verdict(outcome) for outcome in found]).outcome.gravity is Gravity.GOOD
    assert good == (bool(found) and all(CODES[outcome] == 0 for outcome in found))


@given(outcomes.filter(bool))
def test_a_sum_keeps_what_speaks_against_the_claim_and_nothing_else(found: list[Outcome]):
    several = [
        verdict(
            outcome,
            f"reason {number}",
            findings=(Finding(name=f"f{number}", level="note", text="x"),),
            rows=(RowKey(case=f"c{number}", launch=0),),
            about=About(hosts=(f"n{number}",)),
        )
        for number, outcome in enumerate(found)
    ]
    one = sum_up("all", several)
    good = one.outcome.gravity is Gravity.GOOD
    told = [v for v in several if good or v.outcome.gravity is not Gravity.GOOD]
    assert set(one.findings) == {f for v in told for f in v.findings}
    assert set(one.rows) == {r for v in told for r in v.rows}
    assert set(one.about.hosts) == {h for v in told for h in v.about.hosts}
    assert one.parts == tuple(several)
    gravest = next(v.reason for v in several if v.outcome is one.outcome)
    assert one.reason.startswith(gravest)
    assert ("more" in one.reason) == (len(told) > MOST_REASONS)


# A run.


def rows_of(folder: Path, **kwargs) -> list[Row]:
    return write_run(folder / "r", benchmarks=["latency"], **kwargs).rows()


def test_a_run_whose_rows_are_all_there_passes(tmp_path):
    found = judge_rows(rows_of(tmp_path), [])
    assert found.text == "PASS: 23 rows measured"
    skipped = judge_rows(rows_of(tmp_path / "s", skip={"c0001": "no GPU"}), [])
    assert skipped.text == "PASS: 22 rows measured, 1 skipped with a reason"
    assert verdict_code(skipped) == 0


def test_rows_that_failed_are_named_with_their_reason(tmp_path):
    rows = rows_of(tmp_path, fail={"c0001": "died", "c0002": "died", "c0005": "wrong\x1b[2J"})
    found = judge_rows(rows, [])
    assert found.outcome is Outcome.FAILED_ROWS
    first = rows_failed(rows)[0]
    assert found.reason == f"3 of 23 planned rows failed; the first is {first}: died"
    assert (found.value, found.limit, found.unit) == (3, 0, "rows")
    assert [row.case for row in found.rows] == rows_failed(rows)
    assert [(f.value, set(f.about.cases)) for f in found.findings] == [
        (2, {"c0001", "c0002"}),
        (1, {"c0005"}),
    ]
    assert found.findings[1].text == r"1 row failed: wrong\x1b[2J"
    assert all(f.about.hosts == ("node07",) for f in found.findings)


def rows_failed(rows: list[Row]) -> list[str]:
    return [row.case for row in rows if row.status is Status.FAILED]


def test_rows_that_are_missing_never_pass(tmp_path):
    rows = rows_of(tmp_path)
    missing = [key_of(row) for row in rows[15:]]
    found = judge_rows(rows[:15], missing)
    assert found.text == "NOT MEASURED: 8 of 23 planned rows not measured"
    assert found.rows == tuple(missing)
    assert judge_rows([], []).outcome is Outcome.NOT_MEASURED


def test_failed_rows_beat_missing_ones_and_both_are_told(tmp_path):
    rows = rows_of(tmp_path, fail={"c0001": "died"})
    missing = [key_of(row) for row in rows if row.status is Status.OK][:2]
    left = [row for row in rows if key_of(row) not in missing]
    found = judge_rows(left, missing)
    assert found.outcome is Outcome.FAILED_ROWS
    assert found.reason.startswith("1 of 23 planned rows failed")
    assert found.reason.endswith("2 of 23 planned rows not measured")
    assert {part.outcome for part in found.parts} == {Outcome.FAILED_ROWS, Outcome.NOT_MEASURED}


def test_of_very_many_rows_the_first_are_named(tmp_path):
    rows = rows_of(tmp_path, fail={"c0001": "died"})
    (failed,) = (row for row in rows if row.status is Status.FAILED)
    many = [msgspec.structs.replace(failed, launch=launch) for launch in range(5000)]
    found = judge_rows(many, [])
    assert len(found.rows) == MOST_ROWS
    assert found.value == 5000
    assert len(msgspec.json.encode(found)) < 30_000


# A score.


def test_a_score_is_whole_or_cannot_tell(tmp_path):
    whole = judge_score(score(write_run(tmp_path / "a", benchmarks=["latency"], error=0.07)))
    assert whole.text == "PASS: 11 predictions scored, none refused"
    assert (whole.value, whole.unit) == (pytest.approx(0.07), "ratio")
    none = judge_score(score(write_run(tmp_path / "b", benchmarks=["latency"], predict=False)))
    assert none.outcome is Outcome.CANNOT_TELL
    assert none.reason.startswith("no prediction could be scored")
    assert none.value is None
    refuse = {"c0001": {"frozen_at": "2030-01-01T00:00:00+00:00"}}
    late = judge_score(score(write_run(tmp_path / "c", benchmarks=["latency"], refuse=refuse)))
    assert late.outcome is Outcome.CANNOT_TELL
    assert late.rows == (RowKey(case="c0001", launch=0),)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("predict", "code"), [(True, 0), (False, 3)])
def test_score_keeps_its_verdict_with_the_run(predict, code, as_json, tmp_path, capsys):
    run = write_run(tmp_path / "r", benchmarks=["latency"], predict=predict)
    assert run_command(["score", str(run.path), *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    assert err == ""
    kept = read_verdicts(run.path)["score"]
    assert verdict_code(kept) == code
    if as_json:
        assert msgspec.convert(json.loads(out)["verdict"], Verdict) == kept
        assert json.loads(out)["run"] == "r"
    else:
        assert out.splitlines()[-1] == kept.text


def test_score_answers_where_it_cannot_keep_its_verdict_and_is_silent_about_it(
    tmp_path, monkeypatch, capsys
):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    with lock_run(run.path):
        assert run_command(["score", str(run.path)]) == 0

    def refuse(_folder: Path) -> None:
        raise RequestError("the folder is read-only here")

    monkeypatch.setattr(store, "lock_run", refuse)
    assert run_command(["score", str(run.path)]) == 0
    assert capsys.readouterr().err == ""
    assert read_verdicts(run.path) == {}


def test_score_answers_beside_a_damaged_file_and_leaves_it(tmp_path, capsys):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    (run.path / VERDICTS_FILE).write_text("{")
    assert run_command(["score", str(run.path)]) == 0
    out, err = capsys.readouterr()
    assert "PASS" in out
    assert len(err.splitlines()) == 1
    assert "the score is not kept" in err
    assert "remove it" in err
    assert (run.path / VERDICTS_FILE).read_text() == "{"


# The file.


def test_a_run_that_nobody_judged_has_no_verdict(tmp_path):
    assert read_verdicts(tmp_path) == {}


def test_a_verb_has_one_current_verdict(tmp_path):
    first, second = verdict(Outcome.PASS), verdict(Outcome.CANNOT_TELL)
    assert keep_verdict(tmp_path, "run", first)
    assert keep_verdict(tmp_path, "score", first)
    assert keep_verdict(tmp_path, "score", second)
    assert read_verdicts(tmp_path) == {"run": first, "score": second}
    # Rows that are new are judged anew, by every verb.
    write_verdicts(tmp_path, {"run": second})
    assert read_verdicts(tmp_path) == {"run": second}
    assert {path.name for path in tmp_path.iterdir()} == {LOCK_FILE, VERDICTS_FILE}


verdicts = st.recursive(
    st.builds(
        Verdict,
        claim=st.text(),
        outcome=st.sampled_from(list(Outcome)),
        reason=st.text(),
        value=st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False,
                                                                     allow_infinity=False),
        limit=st.none() | st.text(),
        about=st.builds(About, hosts=st.lists(st.text()).map(tuple)),
    ),
    lambda inner: st.builds(
        Verdict,
        claim=st.text(),
        outcome=st.sampled_from(list(Outcome)),
        reason=st.text(),
        parts=st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=4,
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["run", "score", "validate"]), verdicts))
def test_what_is_written_is_read(tmp_path_factory, kept):
    folder = tmp_path_factory.mktemp("v")
    write_verdicts(folder, kept)
    assert read_verdicts(folder) == kept


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"run": 3}', b'{"run": {"claim": "x"}}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_damaged_file_is_named_with_the_way_out(content, tmp_path):
    (tmp_path / VERDICTS_FILE).write_bytes(content)
    with pytest.raises(RequestError, match="remove it, and judge the run again") as damaged:
        read_verdicts(tmp_path)
    assert str(damaged.value).isprintable()
    with pytest.raises(RequestError):
        keep_verdict(tmp_path, "score", verdict(Outcome.PASS))
    assert (tmp_path / VERDICTS_FILE).read_bytes() == content


def test_a_full_disk_is_told_as_of_any_file_of_a_run(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "replace_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_verdicts(tmp_path, {"run": verdict(Outcome.PASS)})


# What the record must be able to say for verbs that judge by other rules.


def test_every_kind_of_verdict_can_be_said():
    gpu = Finding(
        name="gpu-link-width",
        level="warning",
        text="GPU 2 is at 8 of 16 lanes",
        advice="reseat the card",
        about=About(("memcpy/direction=h2d",), ("n3",), ("n3:gpu2",)),
        value=8,
        limit=16,
        unit="lanes",
    )
    row = RowKey(case="memcpy/direction=h2d", launch=0, src="n3:gpu2")
    part = Verdict(
        claim="n3:gpu2 copies as its PCIe link lets it",
        outcome=Outcome.FAIL,
        reason="13.1 GB/s where at least 24.0 GB/s were expected",
        about=gpu.about,
        findings=(gpu,),
        rows=(row,),
        value=13.1e9,
        low=13.0e9,
        high=13.2e9,
        limit=24e9,
        unit="B/s",
    )
    unknown = verdict(Outcome.NOT_MEASURED, "storage is not measured", about=About(hosts=("n3",)))
    ratio = Verdict(
        claim="B is no slower than A in latency/bytes=8",
        outcome=Outcome.SAME,
        reason="1.001 times A, within 1 %",
        rows=(
            RowKey(case="latency/bytes=8", launch=0, arm="a", run="2026-a"),
            RowKey(case="latency/bytes=8", launch=0, arm="b", run="2026-b"),
        ),
        value=1.001,
        low=0.997,
        high=1.005,
        limit=1.01,
        unit="ratio",
    )
    accused = verdict(
        Outcome.ACCUSED, "n3 or its cable", about=About(parts=("n3:nic1", "n3:cable1"))
    )
    for several, code in (
        ([part, unknown], 1),
        ([ratio, unknown], 3),
        ([ratio], 0),
        ([accused], 1),
    ):
        one = sum_up("this cluster is as it should be", several)
        assert verdict_code(one) == code
        assert msgspec.json.decode(msgspec.json.encode(one), type=Verdict) == one
        # A test case of JUnit each: its name, a number as property, and how it ended.
        for case in one.parts:
            assert case.claim
            assert case.text
            assert (case.outcome.gravity is Gravity.GOOD) == (CODES[case.outcome] == 0)
