"""The verdict over one row: which path was seen, how well that is known, and why.

The level is that of the best evidence for the verdict. DIRECT needs bytes that were counted (E3)
or an interference test (E4): modules, traces and control runs alone have all been seen to show
direct where messages were staged. STAGED may be found from E0 on, where the direct path cannot
exist or a trace names the copies. Evidence that disagrees is UNKNOWN, never a vote.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from bench.measure.axes import STAGED_PATHS

DIFFERENT = 1.2
"""Two arms whose medians differ by less, or whose intervals touch, are equal: medians of one launch
wander by more than their intervals."""
LEAST_COUNTED = 0.98
"""Of the payload on the ports of the node, as counters may miss what a queue still holds."""
MOST_COUNTED = 1.25
"""Headers of frames take up to 9 % of small TCP segments, acknowledgements as much again."""
NO_COPIES = 0.05
SOME_COPIES = 0.5
"""Share of the payload that passed host memory: below the one none did, from the other on all."""


class ObservedPath(StrEnum):
    """What was seen of a path."""

    DIRECT = "DIRECT"
    STAGED = "STAGED"
    UNKNOWN = "UNKNOWN"


class Level(StrEnum):
    """How it is known, the weakest first."""

    E0 = "E0"
    E1 = "E1"
    E2 = "E2"
    E3 = "E3"
    E4 = "E4"


class Clues(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one row; None is not known, with the reason in `missing`."""

    memory: str = "device"
    """Kind of memory at the ends: `host`, `standin`, `device`."""
    asked: str = "direct"
    """The path that the suite asked for."""
    across: bool | None = None
    """Whether the two ends are on different nodes."""
    possible: bool | None = None
    """E0: whether modules, kernel and libraries allow the direct path at all."""
    possible_why: str = ""
    routes: tuple[tuple[Literal["direct", "staged"], str], ...] = ()
    """E1: what traces show of this size, and their words."""
    forbidden: float | None = None
    """E2: time with the direct path forbidden over the time of the row."""
    forbidden_apart: bool | None = None
    """Whether the intervals of the two are apart."""
    required: float | None = None
    """E2: time with the direct path required over the time of the row."""
    required_apart: bool | None = None
    refused: str | None = None
    """The library's words where it could not meet the requirement."""
    on_ports: float | None = None
    """E3: bytes that the ports of the sending node counted over the payload."""
    ports: str = ""
    """Which ports."""
    on_nvlink: float | None = None
    """E3: bytes that NVLink carried over the payload."""
    copied: float | None = None
    """E3: bytes that copy engines or processors moved through host memory over the payload."""
    hog: float | None = None
    """E4: time beside a memory hog over the time of the row."""
    hog_apart: bool | None = None
    hog_shares_cores: bool = False
    """The hog ran on the cores of the ranks, so that a fall may be that of the cores."""
    hog_control: bool = False
    """A path that is staged for certain fell under the same hog."""
    missing: tuple[str, ...] = ()
    """What was not gathered, and why."""


class Verdict(NamedTuple):
    """What `evidence.csv` holds."""

    path: ObservedPath
    level: Level
    reason: str


class _Vote(NamedTuple):
    level: Level
    path: ObservedPath
    why: str


def judge(clues: Clues) -> Verdict:
    """Return the path that the clues prove, its level and the reason."""
    remarks = [*_remarks(clues), *clues.missing]
    if clues.asked in STAGED_PATHS:
        return _judge_staged(clues, remarks)
    if clues.memory == "host":
        why = f"host memory: there is no device to copy from; {_ports_text(clues)}"
        level = Level.E0 if clues.on_ports is None else Level.E3
        return Verdict(ObservedPath.UNKNOWN, level, _sentence([why, *remarks]))
    if clues.memory != "device":
        why = f"{clues.memory} memory lies in the host: it says nothing of a GPU"
        return Verdict(ObservedPath.UNKNOWN, Level.E0, _sentence([why, *remarks]))
    return _weigh(clues, list(_votes(clues)), remarks)


def _judge_staged(clues: Clues, remarks: list[str]) -> Verdict:
    """A path that our own program copies for is staged; a hog may show that it is felt."""
    why = f"path {clues.asked}: MPI was handed copies in host memory"
    if _hog_falls(clues):
        felt = f"beside a hog on the host's memory it took {clues.hog:.2f} times as long"
        return Verdict(ObservedPath.STAGED, Level.E4, _sentence([why, felt, *remarks]))
    return Verdict(ObservedPath.STAGED, Level.E0, _sentence([why, *remarks]))


def _weigh(clues: Clues, votes: list[_Vote], remarks: list[str]) -> Verdict:
    why = [f"{vote.level}: {vote.why}" for vote in votes]
    if not votes:
        none = ["nothing shows the path"]
        return Verdict(ObservedPath.UNKNOWN, Level.E0, _sentence([*none, *remarks]))
    highest = max(vote.level for vote in votes)
    paths = {vote.path for vote in votes}
    if len(paths) > 1 or ObservedPath.UNKNOWN in paths:
        return Verdict(ObservedPath.UNKNOWN, highest, _sentence(["contradiction", *why, *remarks]))
    if paths == {ObservedPath.STAGED}:
        return Verdict(ObservedPath.STAGED, highest, _sentence([*why, *remarks]))
    if highest < Level.E3:
        weak = "it looks direct, but nothing below E3 proves it"
        return Verdict(ObservedPath.UNKNOWN, highest, _sentence([weak, *why, *remarks]))
    if clues.across and clues.on_ports is None:
        weak = "it looks direct, but no port was seen to carry the payload"
        return Verdict(ObservedPath.UNKNOWN, highest, _sentence([weak, *why, *remarks]))
    return Verdict(ObservedPath.DIRECT, highest, _sentence([*why, *remarks]))


def _votes(clues: Clues) -> Iterator[_Vote]:
    if clues.possible is False:
        yield _Vote(Level.E0, ObservedPath.STAGED, f"no direct path can be: {clues.possible_why}")
    for route, words in clues.routes:
        yield _Vote(
            Level.E1, ObservedPath.DIRECT if route == "direct" else ObservedPath.STAGED, words
        )
    yield from _control_votes(clues)
    yield from _counter_votes(clues)
    if clues.hog is not None and not clues.hog_shares_cores:
        if _hog_falls(clues):
            why = f"beside a hog on the host's memory it took {clues.hog:.2f} times as long"
            yield _Vote(Level.E4, ObservedPath.STAGED, why)
        elif clues.hog_control:
            why = "a hog on the host's memory did not slow it, and slowed a staged path"
            yield _Vote(Level.E4, ObservedPath.DIRECT, why)


def _control_votes(clues: Clues) -> Iterator[_Vote]:
    if clues.refused is not None:
        why = f"with the direct path required: {clues.refused}"
        yield _Vote(Level.E2, ObservedPath.STAGED, why)
    elif _apart(clues.required, clues.required_apart, faster=True):
        why = f"with the direct path required it took {clues.required:.2f} of the time"
        yield _Vote(Level.E2, ObservedPath.STAGED, why)
    if _apart(clues.forbidden, clues.forbidden_apart, faster=False):
        why = f"with the direct path forbidden it took {clues.forbidden:.2f} times as long"
        yield _Vote(Level.E2, ObservedPath.DIRECT, why)


def _counter_votes(clues: Clues) -> Iterator[_Vote]:
    if clues.across and clues.on_ports is not None and clues.on_ports < LEAST_COUNTED:
        yield _Vote(Level.E3, ObservedPath.UNKNOWN, f"{_ports_text(clues)}: it left by another way")
        return
    if clues.copied is not None and clues.copied >= SOME_COPIES:
        why = f"{clues.copied:.2f} of the payload passed host memory"
        yield _Vote(Level.E3, ObservedPath.STAGED, why)
    if clues.copied is not None and clues.copied <= NO_COPIES and clues.on_ports is not None:
        yield _Vote(
            Level.E3, ObservedPath.DIRECT, f"nothing passed host memory; {_ports_text(clues)}"
        )
    if clues.on_nvlink is not None and clues.on_nvlink >= LEAST_COUNTED and not clues.across:
        why = f"NVLink carried {clues.on_nvlink:.2f} times the payload"
        yield _Vote(Level.E3, ObservedPath.DIRECT, why)


def _remarks(clues: Clues) -> Iterator[str]:
    """Yield what was gathered and decides nothing."""
    if clues.forbidden is not None and not _apart(clues.forbidden, clues.forbidden_apart, False):
        yield f"with the direct path forbidden {_equal_text(clues.forbidden)}"
    if clues.asked in STAGED_PATHS or clues.memory != "device":
        pass
    elif clues.across and clues.on_ports is not None and clues.copied is None:
        yield (
            f"{_ports_text(clues)}, as they would on either path: copies in the host were not "
            "counted"
        )
    if clues.hog is None:
        return
    if clues.hog_shares_cores:
        yield (
            f"beside a memory hog on the same cores it took {clues.hog:.2f} times as long, which "
            "may be the cores"
        )
    elif not _hog_falls(clues) and not clues.hog_control:
        yield "a memory hog did not slow it, but no staged path was seen to fall under it either"


def _hog_falls(clues: Clues) -> bool:
    return not clues.hog_shares_cores and _apart(clues.hog, clues.hog_apart, faster=False)


def _apart(ratio: float | None, apart: bool | None, faster: bool) -> bool:
    """Return whether an arm is that much faster, or slower, than the row, beyond its noise."""
    if ratio is None or not apart:
        return False
    return ratio <= 1 / DIFFERENT if faster else ratio >= DIFFERENT


def _equal_text(ratio: float) -> str:
    """Return why an arm that is not slower, beyond noise, shows nothing."""
    if ratio <= 1 / DIFFERENT:
        return f"it took {ratio:.2f} of the time: faster, which proves nothing"
    if ratio < DIFFERENT:
        return f"it took {ratio:.2f} of the time: equal arms prove nothing"
    return (
        f"it took {ratio:.2f} times as long, but their intervals touch or are not known: arms that "
        "may be equal prove nothing"
    )


def _ports_text(clues: Clues) -> str:
    if clues.on_ports is None:
        return "no port counted bytes"
    beyond = ", more than headers explain" if clues.on_ports > MOST_COUNTED else ""
    return f"{clues.ports or 'ports'} counted {clues.on_ports:.3g} times the payload{beyond}"


def _sentence(parts: list[str]) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))
