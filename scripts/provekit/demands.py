"""What the folder of a run must be after a power cut, and after `clusterbench resume`."""

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import RequestError
from bench.core.records import Row, Sample, Status
from bench.store.files import JOURNAL_FILE, PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE
from bench.store.folder import RunFolder, open_run

PROMISED_S = 10.0
"""What stood in a run's files so long before a cut is there after it."""
ROOT = Path(__file__).parents[2]
_RESUME_TIMEOUT_S = 600

Key = tuple[str, int]
"""Case and launch."""


class Standing(NamedTuple):
    """What stood in the folder of a run at a moment."""

    begun: bool = False
    """Whether it had a `run.json`."""
    rows: frozenset[bytes] = frozenset()
    """Lines of `results.csv`."""
    predictions: frozenset[bytes] = frozenset()
    """Lines of `predictions.csv`."""


class Truth(NamedTuple):
    """What a run had written when it ended without a cut."""

    rows: frozenset[Row]
    samples: dict[Key, Counter[Sample]]


class Found(NamedTuple):
    """What was found after a cut."""

    holds: str
    """`a run`, `no run`, or what is wrong with it."""
    run: Path | None = None
    """Where it is a run that opens."""
    rows: int = 0
    lost: int = 0
    """Of the rows that were promised."""
    invented: int = 0
    """Rows that nobody wrote."""
    unsampled: int = 0
    """Promised rows without all of their samples, as they were."""
    unforeseen: int = 0
    """Predictions that were promised and are not there."""
    unheard: int = 0
    """Promised rows whose end the journal does not have."""

    @property
    def bad(self) -> bool:
        """Whether a promise was broken."""
        return self.holds not in ("a run", "no run") or any(self[3:])


class Resumed(NamedTuple):
    """What was found after `resume`."""

    exit_code: int
    rows: int
    missing: int
    doubled: int
    changed: int
    """Rows that were ok and whole before, and are not there to the byte."""
    unsampled: int

    @property
    def bad(self) -> bool:
        """Whether the run is not whole."""
        return bool(self.exit_code or any(self[2:]))


def is_broken(found: Found, resumed: Resumed | None) -> bool:
    """Return whether what a cut left, or what was resumed from it, broke a promise."""
    return found.bad or (resumed is not None and resumed.bad)


def find_run(parent: Path) -> Path | None:
    """Return the folder of the only run below a folder, where there is one."""
    return next((path for path in parent.glob("*-cut-*") if path.is_dir()), None)


def whole_lines(content: bytes) -> list[bytes]:
    """Return the lines of a file that end; what follows a byte of zero was never written."""
    written = content.partition(b"\0")[0]
    return written[: written.rfind(b"\n") + 1].splitlines()


def stand(begun: bool, results: bytes, predictions: bytes) -> Standing:
    """Return what stands in files, as a running process reads them."""
    rows, foreseen = (frozenset(whole_lines(file)[1:]) for file in (results, predictions))
    return Standing(begun, rows, foreseen)


def read_truth(run: RunFolder) -> Truth:
    """Return what a run had written that ended."""
    return Truth(frozenset(run.rows()), _by_case(run.samples()))


def inspect(parent: Path, promised: Standing, truth: Truth) -> Found:
    """Return what is found below the folder that a run was written to, after a cut.

    Args:
        parent: of the run's folder.
        promised: what stood in the run's files some time before the cut.
        truth: what the run had written when it ended.
    """
    path = find_run(parent)
    if path is None or not (path / RUN_FILE).is_file():
        return _without_run(path, promised)
    try:
        run = open_run(path)
        rows, samples = run.rows(), _by_case(run.samples())
        run.predictions()
        heard = _ended_cases(path)
    except Exception as error:  # noqa: BLE001 - any traceback is one that a person would see
        why = f"does not open: {type(error).__name__}: {error}".replace(str(path), "RUN")
        return Found(why, lost=len(promised.rows))
    lines = set(read_lines(path, RESULTS_FILE))
    due = _cells(path, promised.rows & lines)
    keys = [_key(cells) for cells in due]
    return Found(
        "a run",
        path,
        len(rows),
        len(promised.rows - lines),
        len(set(rows) - truth.rows),
        sum(samples.get(key) != truth.samples.get(key) for key in keys),
        len(promised.predictions - set(read_lines(path, PREDICTIONS_FILE))),
        sum((cells["job"], cells["attempt"], cells["case"]) not in heard for cells in due),
    )


def _without_run(path: Path | None, promised: Standing) -> Found:
    """Say that no run had begun, where that is true and readers say so."""
    lost = len(promised.rows)
    if path is not None:
        try:
            open_run(path)
        except RequestError:
            pass
        else:
            return Found(f"opens without {RUN_FILE}", lost=lost)
    return Found("no run, but it had begun" if promised.begun else "no run", lost=lost)


def resume_command(run: Path) -> tuple[str, ...]:
    """Return what resumes a run."""
    return (sys.executable, "-m", "bench", "resume", str(run), "--no-report")


def resume(run: Path) -> Resumed:
    """Resume a run to its end, and look at what it is then."""
    before = _whole_ok(open_run(run))
    answer = subprocess.run(
        resume_command(run),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=_RESUME_TIMEOUT_S,
        check=False,
    )
    if answer.returncode:
        print(f"resume: {answer.stderr[-2000:]}", file=sys.stderr)
    try:
        after = open_run(run)
        rows, samples = after.rows(), _by_case(after.samples())
    except RequestError as error:
        print(f"after resume: {error}", file=sys.stderr)
        return Resumed(answer.returncode or 1, 0, 0, 0, len(before), 0)
    times = Counter((row.case, row.launch) for row in rows)
    return Resumed(
        answer.returncode,
        len(rows),
        len(after.missing()),
        sum(count > 1 for count in times.values()),
        len(before - set(read_lines(run, RESULTS_FILE))),
        sum(not _is_whole(row, samples) for row in rows if row.status is Status.OK),
    )


def _whole_ok(run: RunFolder) -> set[bytes]:
    """Return the lines of rows that are ok and have all their samples."""
    samples = _by_case(run.samples())
    rows = {(row.case, row.launch): row for row in run.rows() if row.status is Status.OK}
    whole = {key for key, row in rows.items() if _is_whole(row, samples)}
    lines = read_lines(run.path, RESULTS_FILE)
    keys = map(_key, _cells(run.path, lines))
    return {line for line, key in zip(lines, keys, strict=True) if key in whole}


def _is_whole(row: Row, samples: dict[Key, Counter[Sample]]) -> bool:
    """Return whether each rank has as many samples as its row says."""
    have = samples.get((row.case, row.launch), Counter())
    wanted = {
        (rank, number) for rank in range(row.ranks or 0) for number in range(row.samples or 0)
    }
    return Counter(wanted) == Counter((each.rank, each.sample) for each in have.elements())


def _by_case(samples: Iterable[Sample]) -> dict[Key, Counter[Sample]]:
    found: dict[Key, Counter[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.case, sample.launch), Counter())[sample] += 1
    return found


def read_lines(run: Path, name: str) -> list[bytes]:
    """Return the whole lines of a run's file but its header, none where it is not there."""
    try:
        return whole_lines((run / name).read_bytes())[1:]
    except FileNotFoundError:
        return []


def _cells(run: Path, lines: Collection[bytes]) -> list[dict[str, str]]:
    """Return the cells of lines of `results.csv` by column."""
    if not lines:
        return []
    header = whole_lines((run / RESULTS_FILE).read_bytes())[:1]
    return list(csv.DictReader(line.decode() for line in (*header, *lines)))


def _key(cells: dict[str, str]) -> Key:
    return cells["case"], int(cells["launch"])


def _ended_cases(run: Path) -> set[tuple[str, str, str]]:
    """Return job, attempt and case of each end of a case that the journal has.

    Raises:
        ValueError: where a whole line of it is no JSON.
    """
    path = run / JOURNAL_FILE
    entries = map(json.loads, whole_lines(path.read_bytes()) if path.exists() else [])
    return {
        (entry["job"], str(entry["attempt"]), entry["event"]["case"])
        for entry in entries
        if entry["kind"] == "event" and entry["event"]["type"] == "row"
    }
