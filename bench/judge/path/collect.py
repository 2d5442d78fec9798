"""From the files of a run to `evidence.csv`: it can be done again whenever they are there.

Traces are read from the logs of the jobs, counters from the journal, control runs from the rows.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.core.errors import printable
from bench.core.events import CaseEnded, Traffic
from bench.core.hostnames import host_of, split_part
from bench.core.records import Case, Evidence, Job, Row, Status, parse_params
from bench.judge.path import nccl, ucx
from bench.judge.path.verdict import DIFFERENT, Clues, judge
from bench.machine.direct_path import PathFacts
from bench.machine.facts import read_records
from bench.measure.axes import STAGED_PATHS
from bench.measure.payload import HOG, HOG_SHARED, is_in_question, memory_of, sent_per_operation
from bench.plan.controls import FORBIDDEN, REQUIRED, control_id
from bench.store.files import JOURNAL_FILE, LOGS_FOLDER
from bench.store.journal import read_journal

_MOST_LOG_BYTES = 64 * 2**20
_MOST_REASON = 1000
_LEAST_SHARE = 0.01
"""Of the bytes that left a host, for a port to be named."""

Key = tuple[str, int]
"""A case and its launch."""


def collect_evidence(
    folder: Path,
    plan: Iterable[Job],
    paths: Mapping[str, Any],
    rows: Iterable[Row],
) -> list[Evidence]:
    """Return the evidence of every row whose path is in question.

    Args:
        folder: of the run.
        plan: its jobs.
        paths: what its hosts allow, by host.
        rows: its rows.
    """
    found = {(row.case, row.launch): row for row in rows}
    asked = [
        (found[case.id, job.launch], job, case)
        for job in plan
        for case in job.cases
        if (case.id, job.launch) in found and is_in_question(job, case)
    ]
    if not asked:
        return []
    reader = _Reader(folder, paths, found)
    return [reader.evidence(row, case) for row, _, case in asked if row.status is Status.OK]


class _Reader:
    """Reads each file of the run once."""

    def __init__(self, folder: Path, paths: Mapping[str, Any], rows: dict[Key, Row]) -> None:
        self._folder = folder
        self._paths = read_records(paths, PathFacts)
        self._rows = rows
        self._staged_falls = any(self._falls(row) for row in rows.values())
        self._traces: dict[tuple[str | None, int | None], tuple[ucx.UcxTrace, nccl.NcclTrace]] = {}
        self._ended = _read_ends(folder / JOURNAL_FILE)

    def evidence(self, row: Row, case: Case) -> Evidence:
        """Return the verdict over one row."""
        clues = self._clues(row, case)
        verdict = judge(clues)
        return Evidence(
            case=row.case,
            launch=row.launch,
            path_observed=verdict.path.value,
            level=verdict.level.value,
            reason=printable(verdict.reason, _MOST_REASON),
            ratio=clues.forbidden,
        )

    def _clues(self, row: Row, case: Case) -> Clues:
        across = _leaves_node(row)
        facts = self._paths.get(host_of(row.src or ""))
        # Inside a node no network card reads device memory.
        possible = facts.possible if facts is not None and across else None
        forbidden = self._rows.get((control_id(row.case, FORBIDDEN), row.launch))
        required = self._rows.get((control_id(row.case, REQUIRED), row.launch))
        hog = self._rows.get((control_id(row.case, HOG), row.launch))
        on_ports, ports, on_nvlink = self._accounts(row, case)
        return Clues(
            memory=memory_of(case),
            asked=str(case.axes["path"]),
            across=across,
            possible=possible,
            possible_why=(facts.dma_buf_reason or "") if facts else "",
            routes=self._routes(row, across),
            forbidden=_ratio(forbidden, row),
            forbidden_apart=_are_apart(forbidden, row),
            required=_ratio(required, row),
            required_apart=_are_apart(required, row),
            refused=self._refusal(row, required),
            on_ports=on_ports,
            ports=ports,
            on_nvlink=on_nvlink,
            hog=_ratio(hog, row),
            hog_apart=_are_apart(hog, row),
            hog_shares_cores=_shares_cores(hog),
            hog_control=self._staged_falls,
            missing=(*_missing(row, across, facts), *_failed((forbidden, required, hog))),
        )

    def _refusal(self, row: Row, required: Row | None) -> str | None:
        """Return UCX's words where it could not meet the requirement; NCCL never prints that."""
        return None if required is None or row.path == "nccl" else self._trace(required)[0].refused

    def _falls(self, row: Row) -> bool:
        """Return whether a path that our own program stages was slower beside a hog."""
        hog = self._rows.get((control_id(row.case, HOG), row.launch))
        slower = _ratio(hog, row)
        staged = row.path in STAGED_PATHS and not _shares_cores(hog)
        return staged and slower is not None and slower >= DIFFERENT and bool(_are_apart(hog, row))

    def _routes(self, row: Row, across: bool | None) -> tuple[tuple[ucx.Route, str], ...]:
        """Return what the traces of the row's job show of its size."""
        of_ucx, of_nccl = self._trace(row)
        if row.path == "nccl":
            return nccl.routes(of_nccl, across, _ends(row))
        return () if row.bytes is None else ucx.routes(of_ucx, row.bytes, across)

    def _trace(self, row: Row) -> tuple[ucx.UcxTrace, nccl.NcclTrace]:
        """Return what the libraries printed in the row's job."""
        key = (row.job, row.attempt)
        if key not in self._traces:
            text = _read_log(self._folder / LOGS_FOLDER / f"{row.job}-{row.attempt}.log")
            self._traces[key] = (ucx.parse_trace(text), nccl.parse_trace(text))
        return self._traces[key]

    def _accounts(self, row: Row, case: Case) -> tuple[float | None, str, float | None]:
        """Return bytes over payload on ports, their names, and bytes over payload on NVLink."""
        ended = self._ended.get((row.job, row.attempt, row.case))
        payload = sent_per_operation(case)
        if ended is None or not ended.operations or not payload:
            return None, "", None
        host = host_of(row.src or "")
        whole = ended.operations * payload
        traffic = next((one for one in ended.traffic if one.host == host), Traffic(host, ()))
        sums = {
            kind: sum(c.sent for c in traffic.counters if c.kind == kind)
            for kind in ("infiniband", "ethernet")
        }
        # RoCE may count at both places.
        kind = max(sums, key=lambda name: sums[name])
        ports = [c for c in traffic.counters if c.kind == kind]
        named = [c.device for c in ports if c.sent >= _LEAST_SHARE * sums[kind]]
        links = [c.sent for c in traffic.counters if c.kind == "nvlink"]
        counted = sums[kind] / whole if ports and _leaves_node(row) else None
        return counted, f"{' '.join(named)} of {host}", max(links) / whole if links else None


def _ends(row: Row) -> tuple[int, int] | None:
    """Return the ranks that the row's messages go between, as its ends name them."""
    names = [split_part(end or "")[1] for end in (row.src, row.dst)]
    ranks = [name.removeprefix("rank") for name in names if name.startswith("rank")]
    first, *others = [int(rank) for rank in ranks if rank.isdecimal()] or [0]
    return (first, others[0]) if len(others) == 1 else None


def _leaves_node(row: Row) -> bool | None:
    """Return whether the two ends are on different hosts; None where it is no pair."""
    ends = [host_of(end) for end in (row.src, row.dst) if end]
    if len(ends) == 2:
        return ends[0] != ends[1]
    return None if row.nodes is None else row.nodes > 1


def _ratio(arm: Row | None, row: Row) -> float | None:
    if arm is None or arm.status is not Status.OK or not arm.t_median_s or not row.t_median_s:
        return None
    return arm.t_median_s / row.t_median_s


def _are_apart(arm: Row | None, row: Row) -> bool | None:
    """Return whether the two intervals have no time in common; None where one has none."""
    if arm is None:
        return None
    ends = (arm.t_ci_low_s, arm.t_ci_high_s, row.t_ci_low_s, row.t_ci_high_s)
    low, high, row_low, row_high = (math.nan if end is None else end for end in ends)
    if math.isnan(low + high + row_low + row_high):
        return None
    return low > row_high or high < row_low


def _shares_cores(hog: Row | None) -> bool:
    return hog is not None and HOG_SHARED in parse_params(hog.params)


def _failed(arms: Iterable[Row | None]) -> Iterator[str]:
    """Yield a line for each control run without a time: by itself that shows no path."""
    for arm in arms:
        if arm is not None and arm.status is not Status.OK:
            yield f"{arm.case.rpartition('/')[2]} gave no time: {arm.reason or arm.status.value}"


def _missing(row: Row, across: bool | None, facts: PathFacts | None) -> Iterator[str]:
    if across is None:
        yield "more than two ends: which bytes left a node depends on MPI's algorithm"
    if across and facts is not None and facts.possible is None and facts.dma_buf_reason:
        yield f"dma-buf: {facts.dma_buf_reason}"
    redirected = [one for one in facts.between if one.acs_redirect] if facts else []
    if across and redirected and row.src_memory == "device":
        yield f"ACS sends {redirected[0].gpu} to {redirected[0].nic} through the root"


def _read_ends(journal: Path) -> dict[tuple[str | None, int | None, str], CaseEnded]:
    """Return the ends of cases that hold counters, of all attempts, by job, attempt and case."""
    found: dict[tuple[str | None, int | None, str], CaseEnded] = {}
    for entry in read_journal(journal, b'"traffic"'):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            ended = entry.read(CaseEnded)
            found[entry.job, entry.attempt, ended.case] = ended
    return found


def _read_log(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_LOG_BYTES).decode(errors="replace")
    except OSError:
        return ""
