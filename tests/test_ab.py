"""Two arms are measured in turn: their runs, what reaches ranks, and going on after an end."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.core.clock import utc_seconds
from bench.core.errors import LaunchError, RequestError
from bench.core.records import Status
from bench.core.verdict import Outcome, Verdict
from bench.run.ab import sitting
from bench.run.ab.asked import Asked, More
from bench.run.ab.sitting import begin_ab, go_on_ab
from bench.run.request import Request
from bench.store.ab import SIDES, read_ab
from bench.store.folder import open_run

COPY = """
[suite]
name = "tiny"
cap_s = 0.02
seed = 7
[[benchmark]]
name = "memcpy"
bytes = [8, 64, 4096]
ranks = 1
"""
PAIR = """
[suite]
name = "tiny"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = [8, 512, 4096]
"""
mpi = pytest.mark.mpi
NO_MORE = More()


def never(_folder: Path, _margin: float) -> Verdict:
    raise AssertionError("nobody has asked for a look")


def nobody(_command: str) -> bool:
    return False


class Lab:
    """Measures comparisons of a suite in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def asked(self, a: dict[str, str], b: dict[str, str], suite: str = COPY, **more) -> Asked:
        file = self.folder / "tiny.toml"
        file.write_text(suite)
        request = Request(suite=str(file), launcher=more.pop("launcher", "local"), bind="none")
        return Asked(
            request=request,
            sets={"a": a, "b": b},
            **{"launches": 2, "margin": 0.01, **more},
        )

    def begin(self, asked: Asked, look=never, ask: Callable[[str], bool] = nobody):
        return begin_ab(asked, self.folder, self.said.append, look, ask)

    def go_on(self, folder: Path, more: More = NO_MORE, look=never):
        return go_on_ab(folder, more, self.said.append, look, nobody, force=False)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.slow
@mpi
def test_both_arms_are_ordinary_runs_measured_in_the_order_of_the_schedule(lab):
    asked = lab.asked(
        {"env.UCX_WORD": "one", "label": "old"},
        {"mca.mpi_warn_on_fork": "0", "env.SOME_WORD": "a b=c"},
        suite=PAIR,
        launcher="mpirun",
    )
    folder = lab.begin(asked).folder
    record = read_ab(folder)
    runs = {side: open_run(folder / side) for side in SIDES}
    assert record.finished_utc is not None
    assert [slot.state for slot in record.slots] == ["done"] * 4
    begun = {
        (side, row.launch): utc_seconds(row.started_utc or "")
        for side, run in runs.items()
        for row in reversed(run.rows())
    }
    order = [(slot.side, slot.launch) for slot in record.slots]
    assert sorted(begun, key=begun.__getitem__) == order

    for side, run in runs.items():
        assert {row.status for row in run.rows()} == {Status.OK}
        assert not run.missing()
        assert (run.meta.run, run.meta.outcome) == (f"{folder.name}-{side}", "complete")
        assert not run.changed()
    plans = [
        [(job.id, job.launch, [case.id for case in job.cases]) for job in run.plan]
        for run in runs.values()
    ]
    assert plans[0] == plans[1]
    assert {job.launch for job in runs["a"].plan} == {0, 1}

    # What each sets is kept with its run, and with no other.
    assert runs["a"].meta.measured.flags["label"] == "old"
    assert runs["a"].meta.measured.flags["env.UCX_WORD"] == "one"
    assert runs["b"].meta.measured.flags["env.SOME_WORD"] == "a b=c"
    assert not any("WORD" in key for key in runs["b"].meta.measured.flags if "UCX" in key)
    assert {tuple(command.env.items()) for command in runs["b"].commands} == {
        (("SOME_WORD", "a b=c"), ("OMPI_MCA_mpi_warn_on_fork", "0"))
    }
    # What ranks have seen of it stands in the facts that they report.
    facts = {side: json.dumps([*run.nodes.by_host().values()]) for side, run in runs.items()}
    assert "UCX_WORD" in facts["a"]
    assert "UCX_WORD" not in facts["b"]
    lines = [line for line in lab.said if " of 2: " in line]
    assert [line.split()[0].lower() for line in lines] == [side for side, _ in order]


def words(outcomes: Sequence[Outcome]) -> Callable[[Path, float], Verdict]:
    """Return a look that answers so, one after the other."""
    left = iter(outcomes)

    def look(folder: Path, margin: float) -> Verdict:
        assert margin == 0.01
        assert {len(open_run(folder / side).missing()) for side in SIDES} == {0}
        return Verdict(claim="same", outcome=next(left), reason="so it is told")

    return look


def test_launches_are_added_until_there_is_an_answer(lab, monkeypatch):
    monkeypatch.setattr(sitting, "LEAST_LAUNCHES", 1)
    asked = lab.asked({}, {}, launches=5, until_decided=True)
    folder = lab.begin(asked, words([Outcome.CANNOT_TELL, Outcome.SAME])).folder
    record = read_ab(folder)
    assert [look.launches for look in record.looks] == [{"a": 1, "b": 1}, {"a": 2, "b": 2}]
    assert record.looks[-1].outcome is Outcome.SAME
    for side in SIDES:
        run = open_run(folder / side)
        assert (run.meta.measured.launches, len(run.rows()), run.missing()) == (2, 6, [])
    assert any("A and B set the same" in line for line in lab.said)

    # More can be had of one that has ended, and what was measured stays.
    before = (folder / "a" / "results.csv").read_bytes()
    lab.go_on(folder, More(launches=3), words([Outcome.CANNOT_TELL]))
    record = read_ab(folder)
    assert [slot.launch for slot in record.slots if slot.side == "a"] == [0, 1, 2]
    assert (folder / "a" / "results.csv").read_bytes().startswith(before)
    with pytest.raises(RequestError, match="3 launches of each side"):
        lab.go_on(folder, More(launches=2))


def test_an_arm_that_cannot_be_measured_makes_no_folder(lab):
    with pytest.raises(RequestError, match=r"^side b: .*nowhere"):
        lab.begin(lab.asked({"launcher": "mpirun"}, {"launcher": "mpirun", "hostfile": "nowhere"}))
    with pytest.raises(RequestError, match="parameter of Open MPI, and this side starts no MPI"):
        lab.begin(lab.asked({}, {"mca.btl": "self"}))
    assert [path.name for path in lab.folder.iterdir()] == ["tiny.toml"]


def test_an_arm_whose_python_does_not_start_is_told_of(lab):
    with pytest.raises(LaunchError, match="side b: its process ended with exit status 1"):
        lab.begin(lab.asked({}, {"env.PYTHONHOME": "/nowhere"}))
