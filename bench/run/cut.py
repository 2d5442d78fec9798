"""Cuts the files of a run back to what stays when it is resumed.

Files end where their last whole record ends. A row is kept only where all its samples are on the
disk: both are forced to it every few seconds, so after a loss of power the last rows may be there
without them.
"""

import mmap
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.events import CaseEnded
from bench.core.records import CounterReading, Row
from bench.store.files import (
    COMMANDS_FILE,
    EVENTS_FILE,
    JOURNAL_FILE,
    NODES_FILE,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    end_of_lines,
    mapped,
    remove_unfinished,
    replace_file,
    storage_error,
    truncate_file,
)
from bench.store.folder import RunFolder
from bench.store.journal import read_journal
from bench.store.tables import csv_lines, csv_text, header_line
from bench.store.tail import whole_end

Content = mmap.mmap | bytes
Key = tuple[str, str | None, int]
"""A case, its arm, and the launch."""


def cut_back(run: RunFolder, is_final: Callable[[Row], bool]) -> list[Row]:
    """Drop what will be measured again, and what a crash tore; return the rows that stay.

    What is dropped at the end is cut off; only what is dropped before it makes a file be written
    anew, in one step.

    Args:
        run: as it is.
        is_final: whether a row stays; a case of which one row does not is dropped whole.

    Raises:
        StorageError: where the disk is full or gone; nothing is lost.
        RequestError: where a file is damaged.
    """
    try:
        remove_unfinished(run.path)
        for name in (JOURNAL_FILE, COMMANDS_FILE, NODES_FILE):
            _cut(run.path / name, end_of_lines)
        for name in (RESULTS_FILE, SAMPLES_FILE, PREDICTIONS_FILE, EVENTS_FILE):
            _cut(run.path / name, whole_end)
        return _drop(run, is_final)
    except OSError as error:
        raise storage_error(run.path, error) from error


def _cut(path: Path, find_end: Callable[[Content], int]) -> None:
    if not path.exists():
        return
    try:
        with mapped(path) as content:
            end = find_end(content)
    except RequestError as error:
        raise RequestError(f"{printable(path, 400)}, {error}") from error
    truncate_file(path, end)


def _drop(run: RunFolder, is_final: Callable[[Row], bool]) -> list[Row]:
    rows = run.rows()
    dropped = {_key(row) for row in rows if not is_final(row)} | _torn(rows, run.path)
    samples = run.path / SAMPLES_FILE
    if samples.exists():
        with mapped(samples) as content:
            unsampled, end = _find_unsampled(rows, content, run.path / JOURNAL_FILE)
            dropped |= unsampled
            inside = _blocks(content, (row for row in rows if _key(row) in dropped), end)
            rest = _without(content, inside, end) if inside else None
        if rest is None:
            truncate_file(samples, end)
        else:
            replace_file(samples, rest)
    if not dropped:
        return rows
    readings = [r for r in run.counter_readings() if (r.case, r.launch) not in _cases(dropped)]
    replace_file(
        run.path / EVENTS_FILE, (header_line(CounterReading) + csv_lines(readings)).encode()
    )
    kept = [row for row in rows if _key(row) not in dropped]
    replace_file(run.path / RESULTS_FILE, (header_line(Row) + csv_lines(kept)).encode())
    return kept


def _key(row: Row) -> Key:
    return row.case, row.arm, row.launch


def _cases(keys: Iterable[Key]) -> set[tuple[str, int]]:
    return {(case, launch) for case, _arm, launch in keys}


def _find_unsampled(rows: Sequence[Row], content: Content, journal: Path) -> tuple[set[Key], int]:
    """Return the last rows whose samples are not all there, and where those of the others end."""
    unsampled: set[Key] = set()
    for row in reversed(rows):
        if row.samples is None:
            continue
        start, end = _find_block(content, row)
        if start < end and content[start:end].count(b"\n") == _expected_samples(row, journal):
            # Samples are written in the order of rows: those before are there.
            return unsampled, end
        unsampled.add(_key(row))
    return unsampled, content.find(b"\n") + 1


def _expected_samples(row: Row, journal: Path) -> int | None:
    """Return how many samples of all ranks belong to a row, None where no journal tells."""
    ended = _how_ended(row, journal)
    if ended is None or ended.sampled_ranks is None or row.samples is None:
        return None
    if ended.sample_count is not None:
        return ended.sample_count
    return ended.sampled_ranks * row.samples


def _how_ended(row: Row, journal: Path) -> CaseEnded | None:
    found = None
    for entry in read_journal(journal, b'"type":"row","case":%s,' % msgspec.json.encode(row.case)):
        if (entry.job, entry.attempt) == (row.job, row.attempt):
            found = entry.read(CaseEnded)
    return found


def _torn(rows: Sequence[Row], folder: Path) -> set[Key]:
    """Return the case of the last rows where not every place of it has one: a crash took them."""
    if not rows:
        return set()
    last = _key(rows[-1])
    count = sum(1 for _ in takewhile(lambda row: _key(row) == last, reversed(rows)))
    ended = _how_ended(rows[-1], folder / JOURNAL_FILE)
    # A case whose events did not arrive whole has one row, and measured none of its places.
    torn = ended is not None and rows[-1].src is not None and count < len(ended.places)
    return {last} if torn else set()


def _find_block(content: Content, row: Row) -> tuple[int, int]:
    """Return where the samples of a row begin and end; they stand together."""
    prefix = csv_text([(row.case, row.launch)]).encode()[:-1] + b","
    # Where a case is measured again, its last samples count; they are near the end in any case.
    last = content.rfind(b"\n" + prefix) + 1
    if last == 0:
        return 0, 0
    end = content.find(b"\n", last) + 1
    start = last
    while (before := content.rfind(b"\n", 0, start - 1) + 1) < start and content[
        before : before + len(prefix)
    ] == prefix:
        start = before
    return start, end


def _blocks(content: Content, rows: Iterable[Row], end: int) -> list[tuple[int, int]]:
    """Return where samples of these rows stand before `end`."""
    found = {_find_block(content, row) for row in rows if row.samples is not None}
    return sorted(block for block in found if block[0] < block[1] <= end)


def _without(content: Content, blocks: Sequence[tuple[int, int]], end: int) -> bytes:
    parts, begin = [], 0
    for start, stop in blocks:
        parts.append(content[begin:start])
        begin = stop
    return b"".join((*parts, content[begin:end]))
