"""Bounds from hardware facts: what no measurement can beat, put beside each of them.

`bound_s` is in the row, with `bound_source`; where there is none, it holds `none:` and why.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from bench.core.events import Facts
from bench.core.records import Case, Job, Prediction, Row, Status, parse_params
from bench.machine.description import parse_description, read_description
from bench.machine.facts import NodeFacts, read_records
from bench.predict.bounds.bound import NONE, Bound, Seats
from bench.predict.bounds.hardware import Hardware
from bench.predict.bounds.rules import find_bound
from bench.store.folder import JOURNAL_FILE, RunFolder, RunMeta

__all__ = ["Hardware", "add_bound", "bound_again", "foresee", "known_hardware"]


def known_hardware(meta: RunMeta) -> Hardware:
    """Return what `run.json` knows of the machine; facts that cannot be read are unknown."""
    known = read_records(meta.facts, NodeFacts)
    nodes = {host: known[key] for host, key in meta.nodes.items() if key in known}
    return Hardware(nodes, parse_description(meta.machine_text) if meta.machine_text else None)


def add_bound(row: Row, case: Case, facts: Facts | None, hardware: Hardware) -> Row:
    """Return the row with its bound, or the reason why there is none.

    Args:
        facts: of the job; None where it never sent them.
    """
    if facts is None:
        bound = Bound(None, f"{NONE}its job never told where its ranks ran")
    else:
        bound = find_bound(case, _seats(facts, row), hardware)
    fraction = None
    if bound.seconds is not None and row.t_median_s and row.status is Status.OK:
        fraction = bound.seconds / row.t_median_s
    return msgspec.structs.replace(
        row, bound_s=bound.seconds, bound_source=bound.source, fraction_of_bound=fraction
    )


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
    again.meta.machine_text = read_description(machine)
    return again


class _BoundAgain(RunFolder):
    def rows(self) -> list[Row]:
        """Return the final rows with new bounds."""
        hardware = known_hardware(self.meta)
        facts = _journal_facts(self.path / JOURNAL_FILE)
        cases = {case.id: case for job in self.meta.plan for case in job.cases}
        return [
            add_bound(row, cases[row.case], facts.get((row.job, row.attempt)), hardware)
            if row.case in cases
            else row
            for row in super().rows()
        ]


class _Entry(msgspec.Struct):
    kind: str
    job: str
    attempt: int
    event: msgspec.Raw = msgspec.Raw()


def _journal_facts(journal: Path) -> dict[tuple[str, int], Facts]:
    """Return where the ranks of each attempt of a job ran, as far as a journal holds it."""
    found: dict[tuple[str, int], Facts] = {}
    for line in journal.read_bytes().splitlines() if journal.is_file() else []:
        if b'"type":"facts"' not in line:
            continue
        try:
            entry = msgspec.json.decode(line, type=_Entry)
            found[entry.job, entry.attempt] = msgspec.json.decode(entry.event, type=Facts)
        except (msgspec.MsgspecError, RecursionError):
            continue  # a crash leaves half a line
    return found
