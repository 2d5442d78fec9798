"""What POSIX allows after a power cut, by the model that scripts/prove-power-cut draws from."""

import random
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
after_cut = pytest.importorskip("provekit.after_cut")
from provekit.after_cut import Contents, Names  # noqa: E402
from provekit.calls import (  # noqa: E402
    Act,
    Call,
    Create,
    MakeFolder,
    MakeLink,
    Remove,
    Rename,
    Sync,
    Truncate,
    Write,
)

ROOT = PurePosixPath("/runs")
RUN = ROOT / "run"
ROWS = RUN / "rows"
SEEDS = range(60)


def follow(*acts: Act) -> "after_cut.Model":
    """Return what is there after acts, a second each, one after the other."""
    return after_cut.Model(ROOT).follow(Call(at, at + 0.5, act) for at, act in enumerate(acts))


def draw(model: "after_cut.Model", seed: int, contents: Contents, names: Names, where: Path):
    """Return the files of a drawn folder, by path below the root."""
    target = where / f"{seed}-{contents}-{names}"
    target.mkdir()
    model.lay_out(target, random.Random(seed), contents, names)  # noqa: S311 - a draw
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }


def draw_all(model: "after_cut.Model", where: Path, seeds: range = SEEDS):
    """Return many drawn folders, of every kind."""
    kinds = [(contents, names) for contents in Contents for names in Names]
    return [draw(model, seed, *kinds[seed % len(kinds)], where) for seed in seeds]


MADE = (MakeFolder(RUN), Create(ROWS), Write(ROWS, None, b"one\n"))
DURABLE = (*MADE, Sync(ROWS), Sync(RUN), Sync(ROOT))


def test_what_was_synced_with_its_names_is_in_every_folder(tmp_path):
    assert draw_all(follow(*DURABLE), tmp_path) == [{"run/rows": b"one\n"}] * len(SEEDS)


def test_what_was_written_after_the_last_sync_is_whole_short_torn_or_zero(tmp_path):
    late = b"t" * 2000
    model = follow(*DURABLE, Write(ROWS, None, late))
    found = [folder["run/rows"] for folder in draw_all(model, tmp_path)]
    assert all(content.startswith(b"one\n") for content in found)
    assert all(set(content[4:]) <= {0, ord("t")} for content in found)
    assert {len(content) for content in found} >= {4, 2004}
    assert any(4 < len(content) < 2004 for content in found)
    tails = {content[4:] for content in found}
    assert late in tails
    assert bytes(2000) in tails
    assert any(set(tail) == {0, ord("t")} for tail in tails)


def test_a_sector_is_written_whole_or_not_at_all(tmp_path):
    model = follow(*DURABLE, Write(ROWS, None, b"t" * 2044))
    for seed in SEEDS:
        content = draw(model, seed, Contents.TORN, Names.KEPT, tmp_path)["run/rows"]
        for start in range(512, len(content), 512):
            assert len(set(content[start : start + 512])) == 1


@pytest.mark.parametrize("unsynced", [Sync(RUN), Sync(ROOT)])
def test_a_name_is_there_only_once_its_folder_is_synced(unsynced, tmp_path):
    model = follow(*(act for act in DURABLE if act != unsynced))
    assert draw(model, 0, Contents.KEPT, Names.LOST, tmp_path) == {}
    some = [draw(model, seed, Contents.KEPT, Names.SOME, tmp_path) for seed in SEEDS]
    assert {} in some
    assert {"run/rows": b"one\n"} in some


def test_a_rename_is_done_or_undone_and_the_old_file_is_not_lost(tmp_path):
    new = RUN / ".rows"
    model = follow(
        *DURABLE, Create(new), Write(new, None, b"two\n"), Sync(new), Sync(RUN), Rename(new, ROWS)
    )
    found = draw_all(model, tmp_path)
    undone, done = {"run/rows": b"one\n", "run/.rows": b"two\n"}, {"run/rows": b"two\n"}
    assert all(folder in (undone, done) for folder in found)
    assert undone in found
    assert done in found


def test_a_file_that_is_renamed_before_it_is_synced_may_be_empty(tmp_path):
    new = RUN / ".rows"
    model = follow(*DURABLE, Create(new), Write(new, None, b"two\n"), Rename(new, ROWS), Sync(RUN))
    assert {"run/rows": b""} in draw_all(model, tmp_path)


def test_a_sync_reaches_what_was_done_before_it_began():
    synced = [
        Call(0.0, 0.1, MakeFolder(RUN)),
        Call(0.2, 0.3, Create(ROWS)),
        Call(0.4, 0.5, Write(ROWS, None, b"before")),
        Call(1.0, 2.0, Sync(ROWS)),
        Call(1.5, 1.6, Write(ROWS, None, b" meanwhile")),
    ]
    model = after_cut.Model(ROOT).follow(sorted(synced, key=lambda call: call.at_s))
    node = model.find(ROWS)
    assert isinstance(node, after_cut.File)
    assert node.durable == b"before"
    assert model.read(ROWS) == b"before meanwhile"


def test_files_have_no_order_that_no_sync_gives_them(tmp_path):
    other = RUN / "samples"
    model = follow(
        *DURABLE, Create(other), Sync(RUN), Write(other, None, b"s"), Write(ROWS, None, b"r")
    )
    found = [draw(model, seed, Contents.MIXED, Names.KEPT, tmp_path) for seed in SEEDS]
    tails = {(folder["run/rows"][4:], folder["run/samples"]) for folder in found}
    assert tails >= {(b"", b""), (b"r", b""), (b"", b"s"), (b"r", b"s")}


def test_a_cut_of_the_end_may_be_undone(tmp_path):
    model = follow(*DURABLE, Truncate(ROWS, 1), Write(ROWS, None, b"x"))
    found = {folder["run/rows"] for folder in draw_all(model, tmp_path)}
    assert found >= {b"one\n", b"ox"}
    assert found <= {b"one\n", b"o", b"ox", b"on"}


def test_links_are_drawn_and_a_rename_between_folders_is_refused(tmp_path):
    model = follow(*DURABLE, MakeLink(ROOT / "latest", "run"), Sync(ROOT))
    target = tmp_path / "drawn"
    target.mkdir()
    model.lay_out(target, random.Random(0), Contents.LOST, Names.LOST)  # noqa: S311 - a draw
    assert (target / "latest" / "rows").read_bytes() == b"one\n"
    with pytest.raises(ValueError, match="between folders"):
        follow(*DURABLE, Rename(ROWS, ROOT / "rows"))


FILES = st.sampled_from([RUN / name for name in "abc"])
ACTS = st.one_of(
    st.builds(Create, FILES),
    st.builds(Write, FILES, st.one_of(st.none(), st.integers(0, 900)), st.binary(max_size=900)),
    st.builds(Truncate, FILES, st.integers(0, 900)),
    st.builds(Rename, FILES, FILES),
    st.builds(Sync, st.one_of(FILES, st.just(RUN))),
)


def possible(acts: list[Act]) -> list[Act]:
    """Return acts without those that fail where a file is not there."""
    there: set[PurePosixPath] = set()
    done = []
    for act in acts:
        if isinstance(act, Create):
            there.add(act.path)
        elif act.path != RUN and act.path not in there:
            continue
        if isinstance(act, Rename):
            there = there - {act.path} | {act.new}
        done.append(act)
    return done


@given(st.lists(ACTS, max_size=25).map(possible), st.randoms(use_true_random=False))
def test_after_a_sync_of_everything_there_is_one_folder_only(acts, chance):
    model = follow(
        MakeFolder(RUN), *acts, *(Sync(RUN / name) for name in "abc"), Sync(RUN), Sync(ROOT)
    )
    drawn = model.find(RUN)
    assert isinstance(drawn, after_cut.Folder)
    for names in Names:
        found = drawn.draw(chance, names)
        assert found == drawn.now
        for node in found.values():
            assert isinstance(node, after_cut.File)
            whole = after_cut.apply(node.durable, ())
            assert all(node.draw(chance, contents) == whole for contents in Contents)


@given(st.lists(ACTS, max_size=25).map(possible), st.randoms(use_true_random=False))
def test_every_byte_of_a_draw_was_there_at_some_time_or_is_zero(acts, chance):
    model = follow(MakeFolder(RUN), *acts)
    folder = model.find(RUN)
    assert isinstance(folder, after_cut.Folder)
    for node in folder.now.values():
        assert isinstance(node, after_cut.File)
        states = [
            after_cut.apply(node.durable, node.pending[:count])
            for count in range(len(node.pending) + 1)
        ]
        for contents in Contents:
            content = node.draw(chance, contents)
            assert len(content) <= max(map(len, states))
            for place, byte in enumerate(content):
                assert byte in {0, *(state[place] for state in states if place < len(state))}


@given(st.lists(ACTS, max_size=25).map(possible), st.randoms(use_true_random=False))
def test_changes_of_one_name_happen_in_order(acts, chance):
    model = follow(MakeFolder(RUN), *acts, Remove(RUN / "a"))
    folder = model.find(RUN)
    assert isinstance(folder, after_cut.Folder)
    ever: dict[str, list[object]] = {}
    now: dict[str, object] = dict(folder.durable)
    for name in "abc":
        ever[name] = [now.get(name)]
    for _, change in folder.pending:
        for name, node in change.items():
            ever[name].append(node)
    for names in Names:
        found = folder.draw(chance, names)
        assert all(found.get(name) in ever[name] for name in "abc")
    assert folder.draw(chance, Names.KEPT) == folder.now
    assert folder.draw(chance, Names.LOST) == folder.durable
