"""Comparisons: known changes get their word, and what must not be compared is refused by name."""

import math
from functools import partial

import msgspec
import numpy as np
import pytest
from synthetic import write_run
from two_sides import write_rows, write_side

from bench.core.errors import RequestError
from bench.core.gpu_cases import SHARED
from bench.core.records import Evidence, Origin, Sample, Status
from bench.core.verdict import Outcome
from bench.judge.compare.compare import compare_runs, judge_comparison
from bench.judge.compare.line_up import line_up
from bench.judge.compare.records import Aspect
from bench.judge.compare.sides import load_side, open_sides
from bench.judge.compare.text import comparison_text
from bench.judge.compare.words import needed_by, refusals_of, seen_by, tell
from bench.store.ab import AB_FILE, AbRecord, Slot, write_ab
from bench.store.ab import Side as Arm
from bench.store.files import EVIDENCE_FILE, SAMPLES_FILE
from bench.store.folder import open_run
from bench.store.tables import csv_lines, header_line

ODD = "c0005"
"""A case that tests single out: latency of 32 B."""


def hold(*runs, **asked):
    """Return the comparison of run folders, and the first side held against the baseline."""
    comparison = compare_runs(open_sides([run.path for run in runs]), **asked)
    return comparison, comparison.held[0]


def lined(a, b):
    sides = open_sides([a.path, b.path])
    return line_up(*sides, *map(load_side, sides))


def only(case, **changes):
    """Return what changes the rows of one case."""
    return lambda row: changes if row.case == case else {}


def answers(held, aspect=Aspect.LEVEL):
    return {one.case: one.answer.outcome for one in held.of(aspect)}


def test_known_changes_get_their_words_and_the_rest_is_the_same(tmp_path):
    factors = {"c0003": 1.2, "c0004": 1.05, "c0010": 0.7}
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", lambda row: factors.get(row.case, 1.0), seed=2)
    comparison, held = hold(a, b)
    assert held.outcome is Outcome.SLOWER
    expected = {"c0003": "SLOWER", "c0004": "SLOWER", "c0010": "FASTER"}
    assert answers(held) == {case: expected.get(case, "SAME") for case in answers(held)}
    assert len(answers(held)) == 23
    for one in held.of(Aspect.LEVEL):
        truth = factors.get(one.case, 1.0)
        assert one.answer.low <= truth <= one.answer.high
        assert one.b / one.a == pytest.approx(truth, rel=0.005)
    assert "2 of 23 cases are slower, at worst 0.83" in tell(comparison, held)
    verdict = judge_comparison(comparison)
    assert verdict.outcome is Outcome.SLOWER
    assert verdict.value == pytest.approx(1.2, rel=0.005)
    assert verdict.about.cases == ("c0003", "c0004")


@pytest.mark.parametrize(
    ("factor", "word"), [(1.0, Outcome.SAME), (0.9, Outcome.FASTER), (1.1, Outcome.SLOWER)]
)
def test_the_overall_word(tmp_path, factor, word):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", factor, seed=2)
    comparison, held = hold(a, b)
    assert held.outcome is judge_comparison(comparison).outcome is word


def test_a_wider_margin_makes_a_change_none_that_matters(tmp_path):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", 1.03, seed=2)
    assert hold(a, b)[1].outcome is Outcome.SLOWER
    assert hold(a, b, margin=0.05)[1].outcome is Outcome.SAME


def test_one_run_tells_nothing_of_the_next(tmp_path):
    a = write_side(tmp_path / "a", launches=1)
    b = write_side(tmp_path / "b", 1.5, launches=1)
    comparison, held = hold(a, b)
    assert held.outcome is Outcome.CANNOT_TELL
    assert {*answers(held).values()} == {Outcome.CANNOT_TELL}
    assert "one run tells nothing of the next" in tell(comparison, held)
    assert "6 launches a side" in tell(comparison, held)


def test_noise_tells_how_many_launches_it_takes_and_what_could_have_been_seen(tmp_path):
    runs = [write_side(tmp_path / str(seed), noise=0.03, seed=seed) for seed in (1, 2)]
    _, held = hold(*runs)
    levels = held.of(Aspect.LEVEL)
    assert held.outcome is Outcome.CANNOT_TELL
    half, most = needed_by(held.of(Aspect.LEVEL, Outcome.CANNOT_TELL))
    assert 10 < half <= most
    seen = seen_by(levels)
    assert 1.03 < seen[0] <= seen[1]
    quiet = [write_side(tmp_path / f"q{seed}", noise=0.003, seed=seed) for seed in (1, 2)]
    assert seen_by(hold(*quiet)[1].of(Aspect.LEVEL))[0] < seen[0]


def test_a_longer_tail_of_equal_medians_is_found(tmp_path):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", seed=2, change=only(ODD, t_p99_s=1.0))
    comparison, held = hold(a, b)
    assert answers(held)[ODD] is Outcome.SAME
    assert answers(held, Aspect.TAIL)[ODD] is Outcome.SLOWER
    assert held.outcome is Outcome.SLOWER
    assert "1 of 23 tails (p99 / median) is longer" in tell(comparison, held)


def test_few_samples_have_no_tail(tmp_path):
    a, b = write_side(tmp_path / "a"), write_side(tmp_path / "b", seed=2)
    rows = [msgspec.structs.replace(row, samples=29) for row in b.rows()]
    write_rows(b, rows)
    assert hold(a, b)[1].of(Aspect.TAIL) == []


def test_one_slow_rank_is_found_though_the_row_is_the_same(tmp_path):
    a = write_side(tmp_path / "a", benchmarks=["memcpy"], samples=7)
    b = write_side(tmp_path / "b", benchmarks=["memcpy"], samples=7, seed=2)
    samples = [
        msgspec.structs.replace(one, seconds=one.seconds * (1.5 if one.rank == 0 else 1.0))
        if one.case == ODD
        else one
        for one in b.samples()
    ]
    (b.path / SAMPLES_FILE).write_text(header_line(Sample) + csv_lines(samples))
    _, held = hold(a, b)
    ranks = {one.case: one for one in held.of(Aspect.RANKS)}
    assert len(ranks) == len(held.of(Aspect.LEVEL))
    # Of two ranks the second one takes 0.9 of the first one's time.
    assert ranks[ODD].a == pytest.approx(1 / 0.9, rel=1e-3)
    assert ranks[ODD].b == pytest.approx(1.5 / 0.9, rel=1e-3)
    assert ranks[ODD].answer.outcome is Outcome.SLOWER
    assert [one.case for one in ranks.values() if one.is_changed] == [ODD]


def test_ranks_of_which_one_took_samples_have_no_spread(tmp_path):
    a, b = write_side(tmp_path / "a"), write_side(tmp_path / "b", seed=2)
    assert hold(a, b)[1].of(Aspect.RANKS) == []


REFUSED = (
    ({"bytes": 64}, "other work, bytes: 32 in A, 64 in B"),
    ({"dtype": "fp32"}, "other work, dtype: fp64 in A, fp32 in B"),
    ({"window": 16}, "other work, window: 64 in A, 16 in B"),
    ({"timing_layer": "python"}, "timing layer: numba in A, python in B"),
    ({"path": "staged"}, "path asked for: direct in A, staged in B"),
    ({"params": "buffers=shared"}, "buffers of a window: own in A, shared in B"),
    ({"bytes_wrong": 3}, "wrong answers: 6 launches of B with up to 3 bytes wrong"),
    ({"statistic": "min"}, "statistic: median in A, min in B"),
    ({"rank_agg": "max"}, "summary of ranks: rank0 in A, max in B"),
    ({"params": "oversubscribed=1"}, "cores: enough in A, fewer than ranks in B"),
    ({"params": f"{SHARED}=2"}, "GPUs: one each in A, shared by ranks in B"),
    (
        {"src_memory": "standin"},
        "memory: as asked for in A, the host's in place of a device's in B",
    ),
    ({"origin": Origin.IMPORTED}, "origin: measured in A, imported in B"),
)
RECORD = partial(
    AbRecord,
    name="x",
    version="1",
    suite_name="quick",
    started_utc="",
    seed=1,
    suite_seed=1,
    launches=6,
    margin=0.02,
    sides={"a": Arm(sets={"label": "old"}), "b": Arm(sets={"label": "new"})},
)
KNOWN = {"dtype": "fp64", "window": 64, "path": "direct"}
"""Of every row of these tests."""


def test_what_must_not_be_compared_is_refused_with_the_reason(tmp_path):
    of_case = {f"c{place:04d}": changes for place, (changes, _) in enumerate(REFUSED)}
    a = write_side(tmp_path / "a", change=lambda _: KNOWN | {"bytes": 32})
    changed = write_side(
        tmp_path / "b",
        seed=2,
        change=lambda row: KNOWN | {"bytes": 32} | of_case.get(row.case, {}),
    )
    _, held = hold(a, changed)
    found = {one.case: one.reason for one in held.refused}
    assert found == {case: reason for case, (_, reason) in zip(of_case, REFUSED, strict=True)}
    # Cases that are refused keep no other from its word.
    assert answers(held) == {f"c{n:04d}": Outcome.SAME for n in range(len(REFUSED), 23)}
    assert held.outcome is Outcome.SAME


def test_what_is_alike_on_both_sides_is_no_reason(tmp_path):
    of_case = {f"c{place:04d}": changes for place, (changes, _) in enumerate(REFUSED)}
    runs = [
        write_side(tmp_path / str(seed), seed=seed, change=lambda row: of_case.get(row.case, {}))
        for seed in (1, 2)
    ]
    (refused,) = hold(*runs)[1].refused
    assert refused.reason == "wrong answers: 6 launches of A with up to 3 bytes wrong"


def test_a_path_that_was_proven_to_be_another_is_refused(tmp_path):
    a, b = write_side(tmp_path / "a"), write_side(tmp_path / "b", seed=2)
    for run, path in ((a, "DIRECT"), (b, "STAGED")):
        found = [
            Evidence(case=case, launch=launch, path_observed=proven, level="E2", reason="counted")
            for launch in range(6)
            for case, proven in ((ODD, path), ("c0006", path if run is a else "UNKNOWN"))
        ]
        (run.path / EVIDENCE_FILE).write_text(header_line(Evidence) + csv_lines(found))
    _, held = hold(a, b)
    assert refusals_of(held) == [("path proven: DIRECT in A, STAGED in B", ["latency 32 B"])]


def test_what_one_side_mixes_is_refused(tmp_path):
    a = write_side(tmp_path / "a")
    mixed = write_side(
        tmp_path / "b",
        seed=2,
        change=lambda row: {"timing_layer": "python"} if row.launch == 5 else {},
    )
    comparison, held = hold(a, mixed)
    assert held.results == ()
    assert held.outcome is Outcome.CANNOT_TELL
    ((reason, names),) = refusals_of(held)
    assert reason == "timing layer: numba in A, numba and python in B"
    assert len(names) == 23
    assert "nothing can be compared; 23 cases: timing layer" in tell(comparison, held)


@pytest.mark.parametrize(
    ("origin", "compared"), [(Origin.SIMULATED, 0), (Origin.MEASURED, 23), (Origin.REPLAYED, 0)]
)
def test_origins_are_not_mixed(tmp_path, origin, compared):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", seed=2, origin=origin)
    assert len(hold(a, b)[1].of(Aspect.LEVEL)) == compared


def test_simulated_runs_are_compared_with_each_other(tmp_path):
    runs = [write_side(tmp_path / str(n), seed=n, origin=Origin.SIMULATED) for n in (1, 2)]
    assert hold(*runs)[1].outcome is Outcome.SAME


def test_cases_of_one_side_are_counted_and_not_compared(tmp_path):
    a = write_side(tmp_path / "a", benchmarks=["latency", "bandwidth"])
    b = write_side(tmp_path / "b", seed=2)
    _, held = hold(a, b)
    ((reason, names),) = refusals_of(held)
    assert (reason, len(names)) == ("only in A", 23)


def test_a_case_without_a_time_says_why(tmp_path):
    a = write_side(tmp_path / "a", fail={"c0001": "the link fell"})
    b = write_side(tmp_path / "b", seed=2, skip={ODD: "no memory"}, fail={"c0001": "it died"})
    _, held = hold(a, b)
    found = {one.case: one.reason for one in held.refused}
    assert found == {
        ODD: "no time in B: no memory",
        "c0001": "no time on both sides: the link fell",
    }


def test_launches_that_were_lost_are_told(tmp_path):
    a, b = write_side(tmp_path / "a"), write_side(tmp_path / "b", seed=2)
    rows = [
        msgspec.structs.replace(row, status=Status.FAILED, reason="killed", t_median_s=None)
        if row.launch > 4
        else row
        for row in b.rows()
    ]
    write_rows(b, rows)
    _, held = hold(a, b)
    (told,) = held.lost
    assert told.startswith("23 of 138 rows of B have no time, the first: killed")
    assert {one.answer.launches_b for one in held.of(Aspect.LEVEL)} == {5}


def test_another_placement_is_another_case(tmp_path):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", seed=2, change=only(ODD, nodes=2, ranks_per_node=1))
    _, held = hold(a, b)
    assert ODD not in answers(held)
    reasons = {one.reason for one in held.refused}
    assert "measured on 2 nodes of 1 ranks in B, on 1 nodes of 2 ranks in A" in reasons


def test_runs_of_unlike_suites_have_nothing_in_common(tmp_path):
    a = write_side(tmp_path / "a")
    b = write_side(tmp_path / "b", benchmarks=["matmul"], change=lambda row: {"case": row.case * 2})
    b_plan = (b.path / "plan.jsonl").read_text()
    (b.path / "plan.jsonl").write_text(b_plan.replace('"id":"c00', '"id":"x00'))
    with pytest.raises(RequestError, match="no case in common: compare runs of one suite"):
        hold(a, open_run(b.path))


def test_a_run_is_not_compared_with_itself(tmp_path):
    a = write_side(tmp_path / "a")
    with pytest.raises(RequestError, match="are one run"):
        open_sides([a.path, a.path])


def test_one_run_alone_is_no_comparison(tmp_path):
    a = write_side(tmp_path / "a")
    with pytest.raises(RequestError, match="one run alone is nothing to compare"):
        open_sides([a.path])


def test_a_run_without_rows_is_refused_in_one_line(tmp_path):
    a = write_side(tmp_path / "a")
    empty = write_side(tmp_path / "b", seed=2)
    write_rows(empty, [])
    comparison, held = hold(a, empty)
    assert held.outcome is Outcome.CANNOT_TELL
    assert "nothing can be compared" in tell(comparison, held)


def test_runs_of_one_label_are_launches_of_one_side(tmp_path):
    runs = [
        write_side(
            tmp_path / f"{label}{n}", factor, launches=3, seed=10 * n + len(label), label=label
        )
        for label, factor in (("old", 1.0), ("newer", 0.8))
        for n in range(3)
    ]
    sides = open_sides([run.path for run in runs], by_label=True)
    assert [(side.label, len(side.runs)) for side in sides] == [("old", 3), ("newer", 3)]
    (held,) = compare_runs(sides).held
    assert held.outcome is Outcome.FASTER
    assert {one.answer.launches_a for one in held.of(Aspect.LEVEL)} == {9}
    # Three of one side against three of the other tell nothing.
    assert hold(runs[0], runs[3])[1].outcome is Outcome.CANNOT_TELL


def test_a_run_without_a_label_has_no_side(tmp_path):
    a, b = write_side(tmp_path / "a", label="old"), write_side(tmp_path / "b")
    with pytest.raises(RequestError, match="has no label, which --by-label needs"):
        open_sides([a.path, b.path], by_label=True)
    with pytest.raises(RequestError, match="one label 'old' alone"):
        open_sides([a.path], by_label=True)


def test_three_sides_share_one_level_and_each_has_its_word(tmp_path):
    a = write_side(tmp_path / "a")
    b, c = write_side(tmp_path / "b", 0.8, seed=2), write_side(tmp_path / "c", 1.2, seed=3)
    comparison, first = hold(a, b, c)
    assert [(held.side.label, held.outcome) for held in comparison.held] == [
        ("B", Outcome.FASTER),
        ("C", Outcome.SLOWER),
    ]
    alone = hold(a, b)[1].of(Aspect.LEVEL)[0].answer
    shared = first.of(Aspect.LEVEL)[0].answer
    assert shared.high / shared.low > alone.high / alone.low
    verdict = judge_comparison(comparison)
    assert verdict.outcome is Outcome.SLOWER
    assert [part.outcome for part in verdict.parts] == [Outcome.FASTER, Outcome.SLOWER]


def test_launches_on_several_pairs_of_hosts_are_blocked_by_pair(tmp_path):
    def on_pairs(row):
        number = row.launch % 2
        return {"src_host": f"n{2 * number}", "dst_host": f"n{2 * number + 1}"}

    a = write_side(tmp_path / "a", change=on_pairs)
    b = write_side(tmp_path / "b", seed=2, change=on_pairs)
    for one in lined(a, b).compared:
        assert one.sides.a.block.tolist() == one.sides.b.block.tolist() == [0, 1] * 3
    elsewhere = write_side(
        tmp_path / "c", seed=3, change=lambda _: {"src_host": "m", "dst_host": "k"}
    )
    for one in lined(a, elsewhere).compared:
        assert not one.sides.a.block.any()
        assert not one.sides.b.block.any()


def test_launches_are_what_statistic_names(tmp_path):
    named = only(ODD, statistic="min")
    a, b = write_side(tmp_path / "a", change=named), write_side(tmp_path / "b", change=named)
    (one,) = (
        one
        for one in lined(a, b).compared
        if (one.sides.case, one.sides.aspect) == (ODD, Aspect.LEVEL)
    )
    expected = [math.log(row.t_min_s) for row in a.rows() if row.case == ODD]
    assert sorted(one.sides.a.log_s) == pytest.approx(sorted(expected))
    assert np.isfinite(one.sides.a.begun_s).all()
    assert (np.diff(one.sides.a.begun_s) > 0).all()


def test_both_arms_of_a_folder_are_compared_in_the_blocks_of_its_schedule(tmp_path):
    folder = tmp_path / "ab"
    for side, seed in (("a", 1), ("b", 2)):
        write_side(folder / side, seed=seed)
    slots = [
        Slot(side=side, launch=launch, block=5 - launch)
        for launch in range(6)
        for side in ("a", "b")
    ]
    write_ab(folder, RECORD(slots=slots))
    assert (folder / AB_FILE).is_file()
    sides = open_sides([folder])
    assert [side.label for side in sides] == ["old", "new"]
    for one in line_up(*sides, *map(load_side, sides)).compared:
        assert one.sides.a.block.tolist() == one.sides.b.block.tolist() == [5, 4, 3, 2, 1, 0]


def test_what_else_changed_is_told(tmp_path):
    a = write_side(tmp_path / "a", env={"OMPI_MCA_btl": "self,sm"})
    b = write_side(tmp_path / "b", seed=2, env={"OMPI_MCA_btl": "self,tcp"})
    comparison, held = hold(a, b)
    (first, *_) = held.changed
    assert (first.a, first.b) == ("self,sm", "self,tcp")
    assert any("self,tcp" in line for line in comparison_text(comparison))


def test_a_crossover_tells_pairs_of_hosts_apart_from_sides(tmp_path):
    folder = tmp_path / "ab"
    slow, fast = ("n1", "n2"), ("n3", "n4")

    def on(launch, side):
        return (slow, fast)[(launch + (side == "b")) % 2]

    for side, seed in (("a", 1), ("b", 2)):
        factor = 1.2 if side == "b" else 1.0
        # One pair is far slower, and both slow down as time goes by.
        write_side(
            folder / side,
            lambda row, side=side, factor=factor: (
                factor * (1.5 if on(row.launch, side) is slow else 1.0) * 1.1**row.launch
            ),
            seed=seed,
            launches=8,
        )
    slots = [
        Slot(side=side, launch=launch, block=1 + launch, period=launch, hosts=on(launch, side))
        for launch in range(8)
        for side in ("a", "b")
    ]
    write_ab(folder, RECORD(slots=slots))
    (held,) = compare_runs(open_sides([folder])).held
    assert {*answers(held).values()} == {Outcome.SLOWER}
    for one in held.of(Aspect.LEVEL):
        assert one.answer.ratio == pytest.approx(1.2, rel=0.005)


def test_hostile_words_stay_on_their_line(tmp_path):
    evil = "\x1b[31m<script>\n`$x$`"
    a = write_side(tmp_path / "a", fail={ODD: evil})
    b = write_side(tmp_path / "b", seed=2, change=only("c0006", timing_layer=evil))
    comparison, held = hold(a, b)
    text = " ".join(reason for reason, _ in refusals_of(held)) + tell(comparison, held)
    assert text.isprintable()


def test_a_real_run_of_old_rows_is_compared(tmp_path):
    a = write_run(tmp_path / "a", benchmarks=["matmul"], launches=6, samples=2)
    b = write_run(tmp_path / "b", benchmarks=["matmul"], launches=6, samples=2)
    assert hold(a, b)[1].outcome is Outcome.SAME
