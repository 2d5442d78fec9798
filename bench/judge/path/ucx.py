"""E1 from UCX: its tables of protocols, and the transports that an endpoint was given.

`UCX_PROTO_INFO=y` prints one table for each kind of operation when it is first used, with a range
of message sizes a line; from 1.22 on `used` prints, at the end, only what was used and how often
(1.20 takes that word for a pattern and prints nothing; both seen on 2026-11-20). Tables up to 1.20
have the endpoint in their first column, those of 1.22 a line of their own for it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Route = Literal["direct", "staged"]

_PREFIX = re.compile(r"^\[\d+\.\d+\] \[[^\]]+\]\s+(?:\S+\.c:\d+\s+UCX\s+\w+\s+)?")
_OPERATION = re.compile(
    r"(?P<what>.+?) (?P<way>from|into) (?P<memory>[\w-]+)(?: memory|/\S+)"
    r"(?: from (?P<source>[\w-]+)(?: memory|/\S+)?)?"
)
_RANGE = re.compile(r"(\d{1,19})([KMGTPE]?)(?:\.\.(?:(\d{1,19})([KMGTPE]?)|(inf)))?", re.ASCII)
_UNITS = {unit: 1024**power for power, unit in enumerate(("", *"KMGTPE"))}
_ENDPOINT = re.compile(r"(\S+ )?(self|intra-node|inter-node|\S*ep_cfg\[\d+\])( cfg#\d+)?")
_LANES = re.compile(
    r"UCX\s+INFO\s+(?:0x[0-9a-f]+ |\S+ )?(?P<where>self|intra-node|inter-node|ep_cfg\[\d+\])"
    r"(?: cfg#\d+)?:? ?(?P<lanes>.*\b(?:tag|rma|am)\(.*)"
)
_LANE = re.compile(r"(\w+)/[^\s()]+")
_VERSION = re.compile(r"UCX\s+INFO\s+Version (\d{1,3}(?:\.\d{1,3}){1,3})")

_REFUSED = re.compile(r"\S*: ?(Couldn't enable GPUDirect RDMA[^.\n]{0,80})")

_GPU_MEMORY = ("cuda", "rocm", "ze-")
_COPIES = re.compile(r"cuda_copy|rocm_copy|gdr_copy|ze_copy|copy-in|copy-out|pipeline|host-staged")
"""Words of a line that copies: between device and host, or through buffers of a transport."""
_LOCAL = re.compile(r"\b(cuda_ipc|rocm_ipc|ze_ipc)\b")
_VERBS = re.compile(r"\b(rc|dc|ud)(_mlx5|_verbs|_x)?\b|\bgga_mlx5\b")


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a table: what UCX does with messages of some sizes."""

    endpoint: str
    """Such as `inter-node cfg#2`."""
    operation: str
    memory: str
    """Kind of memory at this end: `host`, `cuda`, `rocm`."""
    least: int
    most: int | None
    """Bytes; None without a limit."""
    steps: str
    """Such as `rendezvous zero-copy read from remote`."""
    transports: str
    """Such as `rc_mlx5/mlx5_0:1`."""
    estimated: bool
    """True for what the other side is expected to do."""
    count: int | None
    """How often it was used; None where UCX did not count."""

    def covers(self, nbytes: int) -> bool:
        """Return whether a message of this size is sent so."""
        return self.least <= nbytes and (self.most is None or nbytes <= self.most)


class UcxTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What UCX printed in a log."""

    version: str | None
    protocols: tuple[Protocol, ...]
    lanes: tuple[tuple[str, tuple[str, ...]], ...]
    """Where an endpoint leads (`inter-node`), and its transports."""
    refused: str | None
    """Its error where the direct path was required and no driver is there; it may then go on
    through TCP."""


def parse_trace(text: str) -> UcxTrace:
    """Return what UCX printed in a log; other lines are passed over."""
    lines = [_PREFIX.sub("", line).strip() for line in text.splitlines()]
    versions = [found[1] for line in text.splitlines() if (found := _VERSION.search(line))]
    refused = _REFUSED.search(text)
    return UcxTrace(
        version=versions[0] if versions else None,
        protocols=tuple(dict.fromkeys(_read_tables(text.splitlines(), lines))),
        lanes=tuple(dict.fromkeys(_read_lanes(text.splitlines()))),
        refused=refused[1] if refused else None,
    )


def _read_lanes(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in lines:
        if found := _LANES.search(line):
            yield found["where"], tuple(dict.fromkeys(_LANE.findall(found["lanes"])))


class _Table:
    """The table that one process is printing; several may print at once."""

    endpoint = ""
    operation = memory = ""
    counted = False


def _read_tables(raw: list[str], lines: list[str]) -> Iterator[Protocol]:
    tables: dict[str, _Table] = {}
    for whole, line in zip(raw, lines, strict=True):
        if not line.startswith("|"):
            continue
        process = _process(whole)
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        table = tables.setdefault(process, _Table())
        heading = cells[-1] if len(cells) <= 2 else ""
        if _ENDPOINT.fullmatch(cells[0]):
            table = tables[process] = _Table()
            table.endpoint = cells[0]
        if found := _OPERATION.fullmatch(heading):
            table.operation, table.memory = found["what"], found["memory"]
        elif cells[0] in ("Count", "Range"):
            table.counted = cells[0] == "Count"
        elif table.operation and (protocol := _read_line(table, cells)):
            yield protocol


def _process(line: str) -> str:
    found = re.match(r"\[[\d.]+\] \[([^\]]+)\]", line)
    return found[1].strip() if found else ""


def _read_line(table: _Table, cells: list[str]) -> Protocol | None:
    count = None
    if table.counted and len(cells) == 4 and cells[0].isascii() and cells[0].isdecimal():
        count, cells = int(cells[0][:18]), cells[1:]
    if len(cells) == 2:
        cells = [*cells, ""]
    sizes = _RANGE.fullmatch(cells[0]) if len(cells) == 3 else None
    if sizes is None:
        return None
    least = int(sizes[1]) * _UNITS[sizes[2]]
    most = None if sizes[5] else int(sizes[3]) * _UNITS[sizes[4]] if sizes[3] else least
    return Protocol(
        endpoint=table.endpoint,
        operation=table.operation,
        memory=table.memory,
        least=least,
        most=most,
        steps=cells[1].removeprefix("(?) "),
        transports=cells[2],
        estimated=cells[1].startswith("(?)"),
        count=count,
    )


def routes(trace: UcxTrace, nbytes: int, across: bool | None) -> tuple[tuple[Route, str], ...]:
    """Return the routes that messages of a size took out of or into device memory, with the words.

    Args:
        trace: of the job.
        nbytes: of one message.
        across: whether the message left the node; None where both are possible.
    """
    wanted = None if across is None else "inter-node" if across else "intra-node"
    found: list[tuple[Route, str]] = []
    for line in trace.protocols:
        elsewhere = wanted and "-node" in line.endpoint and wanted not in line.endpoint
        if elsewhere or not line.memory.startswith(_GPU_MEMORY) or "self" in line.endpoint:
            continue
        # Fragments of a pipeline are not the message, and what was never used proves nothing.
        if not line.covers(nbytes) or "frag" in line.operation or line.count == 0:
            continue
        route = _route(line)
        if route is not None:
            words = f"{line.steps} {line.transports}".strip()
            found.append((route, f"UCX, {line.operation} of {nbytes} bytes: {words}"))
    return tuple(dict.fromkeys(found))


def _route(line: Protocol) -> Route | None:
    """Return what a line shows; None where it shows a control message alone."""
    words = f"{line.steps} {line.transports}"
    if "short" in line.steps and not _COPIES.search(words):
        return None
    if _COPIES.search(words):
        return "staged"
    if "zero-copy" in line.steps and (_VERBS.search(words) or _LOCAL.search(words)):
        return "direct"
    return None
