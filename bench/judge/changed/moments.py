"""When and beside what two runs were measured."""

import datetime
from collections.abc import Iterator, Sequence

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts
from bench.core.records import Finding
from bench.judge.changed.records import SHOWN, Difference, Kind
from bench.store.folder import RunFolder
from bench.store.meta import RunMeta

_APART = datetime.timedelta(hours=1)
_BUSY = ("busy-process", "load", "stolen-time", "gpu-throttled", "shared-core", "clock-step")
"""Findings of a machine that others used meanwhile, or that was in another state."""


def find_moment_changes(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    """Yield when runs were measured that lie apart, and what disturbed one of them alone."""
    apart = _pause(a.meta, b.meta)
    if apart is not None and apart > _APART:
        yield Difference(
            kind=Kind.TIME,
            what="measured from",
            a=printable(a.meta.started_utc),
            b=printable(b.meta.started_utc),
        )
    names = [{finding.name: finding for finding in run.findings} for run in (a, b)]
    for name in _BUSY:
        of_a, of_b = (side.get(name) for side in names)
        if (of_a is None) != (of_b is None):
            yield Difference(kind=Kind.TIME, what=f"finding {name}", a=_tell(of_a), b=_tell(of_b))


def find_host_changes(a: Sequence[str], b: Sequence[str]) -> Iterator[Difference]:
    """Yield the hosts of both sides, where they are others."""
    if a and b and {*a} != {*b}:
        yield Difference(
            kind=Kind.HOSTS,
            what="hosts used",
            a=printable(fold_hosts(a), SHOWN),
            b=printable(fold_hosts(b), SHOWN),
        )


def _tell(finding: Finding | None) -> str:
    return "none" if finding is None else printable(finding.text, SHOWN)


def _pause(a: RunMeta, b: RunMeta) -> datetime.timedelta | None:
    """Return the time from the end of the first to the beginning of the other; None if unknown."""
    spans = []
    for meta in (a, b):
        begin = _parse(meta.started_utc)
        if begin is None:
            return None
        spans.append((begin, _parse(meta.finished_utc) or begin))
    (_, first_end), (second_begin, _) = sorted(spans)
    return second_begin - first_end


def _parse(text: str | None) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)
