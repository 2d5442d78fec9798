"""Bounds from hardware facts, or from what was reached at most, put beside each measurement.

`bound_s` is in the row, with `bound_source`; where there is none, it holds `none:` and why.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import msgspec

from bench.core.ceilings import HostCeilings, best_by_host
from bench.core.events import Ceilings, Facts, RankFacts
from bench.core.gpu_cases import SHARED
from bench.core.records import Case, Job, Prediction, Row, Status, parse_params
from bench.machine.description import parse_description, read_description
from bench.machine.facts import NodeFacts, read_records
from bench.measure.profiles import profile_of
from bench.predict.bounds.bound import NONE, Bound, Seats
from bench.predict.bounds.hardware import Hardware
from bench.predict.bounds.rules import find_bound
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder
from bench.store.journal import read_journal
from bench.store.nodes import Nodes
from bench.store.tables import csv_lines, header_line

__all__ = [
    "Hardware",
    "add_bound",
    "add_bounds",
    "bound_again",
    "foresee",
    "known_hardware",
    "read_ceilings",
]


def known_hardware(
    nodes: Nodes, machine_text: str | None, ceilings: Mapping[str, HostCeilings] | None = None
) -> Hardware:
    """Return what a run knows of the machine; facts that cannot be read are unknown.

    Args:
        ceilings: that were measured, by host.
    """
    known = read_records(nodes.facts, NodeFacts)
    by_host = {host: known[key] for host, key in nodes.hosts.items() if key in known}
    machine = parse_description(machine_text) if machine_text else None
    return Hardware(by_host, machine, ceilings or {})


def add_bound(row: Row, case: Case, facts: Facts | None, hardware: Hardware) -> Row:
    """Return the row with its bound, or the reason why there is none.

    Args:
        facts: of the job; None where it never sent them.
    """
    if facts is None:
        bound = Bound(None, f"{NONE}its job never told where its ranks ran")
    elif SHARED in parse_params(row.params):
        bound = Bound(None, f"{NONE}ranks that shared a GPU passed no link between GPUs")
    else:
        bound = find_bound(case, _seats(facts, row), hardware)
    fraction = None
    if bound.seconds is not None and row.t_s and row.status is Status.OK:
        fraction = bound.seconds / row.t_s
    return msgspec.structs.replace(
        row, bound_s=bound.seconds, bound_source=bound.source, fraction_of_bound=fraction
    )


def add_bounds(
    rows: Sequence[Row], case: Case, facts: Facts | None, hardware: Hardware
) -> list[Row]:
    """Return the rows of one case with their bounds, each by the hardware of its own place.

    Args:
        facts: of the job; None where it never sent them.
    """
    if facts is None or profile_of(case.benchmark).rows == "job":
        return [add_bound(row, case, facts, hardware) for row in rows]
    by_host = _by_host(facts)
    return [add_bound(row, case, _facts_of(row, facts, by_host), hardware) for row in rows]


def _by_host(facts: Facts) -> dict[str, Facts]:
    """Return the facts of a job as if each host had one of its own."""
    ranks: dict[str, list[RankFacts]] = {}
    for rank in facts.ranks:
        ranks.setdefault(rank.host, []).append(rank)
    return {host: msgspec.structs.replace(facts, ranks=tuple(own)) for host, own in ranks.items()}


def _facts_of(row: Row, facts: Facts, by_host: Mapping[str, Facts]) -> Facts:
    """Return the facts of the place that a row is of; of a GPU, as if one rank used it."""
    own = by_host.get(row.src_host or "", facts)
    if row.src == row.src_host:
        return own
    return msgspec.structs.replace(own, ranks=own.ranks[:1])


def _seats(facts: Facts, row: Row) -> Seats:
    cores: dict[str, set[int]] = {}
    for rank in facts.ranks:
        cores.setdefault(rank.host, set()).update(rank.usable_cores)
    params = parse_params(row.params)
    return Seats(
        tuple(rank.host for rank in facts.ranks),
        {host: len(usable) for host, usable in cores.items() if usable},
        _natural(params.get("threads", "")),
        _natural(params.get("link_bytes", "")),
        _natural(params.get("sets", "")),
        _natural(params.get("gpu_cache_bytes", "")),
    )


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def foresee(
    jobs: Iterable[Job],
    hosts: Callable[[Job], Sequence[str]],
    hardware: Hardware,
    frozen_at: str,
) -> list[Prediction]:
    """Return a datasheet prediction (tier D) of every case that has a bound.

    `seconds` is what the rates give, `low_s` the bound; how much slower a program is in no
    datasheet, so `high_s` is empty.

    Args:
        jobs: of the plan; none of them has begun.
        hosts: the host of each rank of a job, as the launcher will place it.
        hardware: what is known before any job.
        frozen_at: the time of day.
    """
    found = []
    for job in jobs:
        seats = Seats(tuple(hosts(job)))
        for case in job.cases:
            bound = find_bound(case, seats, hardware)
            if bound.seconds is not None:
                found.append(
                    Prediction(
                        case=case.id,
                        launch=job.launch,
                        tier="D",
                        formula=bound.source,
                        seconds=bound.usual_s,
                        low_s=bound.seconds,
                        frozen_at=frozen_at,
                    )
                )
    return found


def bound_again(run: RunFolder, machine: Path) -> RunFolder:
    """Return a run whose bounds are worked out again, from its facts and another machine file.

    Raises:
        RequestError: where the machine file is not valid.
    """
    again = _BoundAgain(run.path)
    again.parts.machine_text = read_description(machine)
    return again


class _BoundAgain(RunFolder):
    def results(self) -> BinaryIO:
        """Open the final rows with new bounds, as the file would hold them."""
        return io.BytesIO((header_line(Row) + csv_lines(self.rows())).encode())

    def rows(self) -> list[Row]:
        """Return the final rows with new bounds."""
        ceilings = read_ceilings(self.path / JOURNAL_FILE)
        hardware = known_hardware(self.nodes, self.machine_text, ceilings)
        facts = _journal_facts(self.path / JOURNAL_FILE)
        cases = {case.id: case for job in self.plan for case in job.cases}
        found: list[Row] = []
        # Rows of a case stand together: all of them are of one attempt.
        for (name, job, attempt), rows in groupby(
            super().rows(), key=lambda row: (row.case, row.job, row.attempt)
        ):
            case, again = cases.get(name), list(rows)
            found += (
                again
                if case is None
                else add_bounds(again, case, facts.get((job, attempt)), hardware)
            )
        return found


def _journal_facts(journal: Path) -> dict[tuple[str | None, int | None], Facts]:
    """Return where the ranks of each attempt of a job ran, as far as a journal holds it."""
    found: dict[tuple[str | None, int | None], Facts] = {}
    for entry in read_journal(journal, b'"type":"facts"'):
        # A line that holds the words elsewhere is no such event.
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            found[entry.job, entry.attempt] = entry.read(Facts)
    return found


def read_ceilings(journal: Path) -> dict[str, HostCeilings]:
    """Return the best that was reached on each host in all of a run."""
    best: dict[str, HostCeilings] = {}
    for entry in read_journal(journal, b'"type":"ceilings"'):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            best = best_by_host(best, entry.read(Ceilings).hosts)
    return best
