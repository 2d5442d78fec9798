"""What a step answers, as it is kept in its folder."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

FILE = "answer.json"


class Outcome(StrEnum):
    """How an answer compares with what was expected."""

    RIGHT = "right"
    WRONG = "wrong"
    CUT = "not finished"
    """Nothing was wrong until it was cut off."""
    OPEN = "not asked"
    """What the question needs is not here."""


@dataclass(frozen=True)
class Answer:
    """What came of a question, and what it means."""

    outcome: Outcome
    came: str
    means: str
    table: list[list[str]] = field(default_factory=list)
    """Figures; the first row names the columns."""
    finished: bool = True
    """False of what a step has found so far."""

    def write(self, folder: Path) -> None:
        """Keep the answer; whoever is killed meanwhile leaves the one before."""
        unfinished = folder / f".{FILE}.part"
        unfinished.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        unfinished.replace(folder / FILE)


class NotHereError(Exception):
    """What a question needs is not on this machine; the message names it."""


def read_answer(folder: Path) -> Answer | None:
    """Return the answer that a step has left, or None."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Answer(Outcome(found.pop("outcome")), **found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def judge(wrong: list[str], right: str, means: str, table: list[list[str]]) -> Answer:
    """Return the answer to a question whose wrong parts, if any, are named."""
    if wrong:
        return Answer(Outcome.WRONG, "; ".join(wrong), means, table)
    return Answer(Outcome.RIGHT, right, means, table)


def keep_so_far(folder: Path, wrong: list[str], means: str, table: list[list[str]]) -> None:
    """Keep what a step has found until now, for when it is cut off."""
    found = "; ".join([f"{max(0, len(table) - 1)} figures so far", *wrong])
    outcome = Outcome.WRONG if wrong else Outcome.CUT
    Answer(outcome, found, means, table, finished=False).write(folder)
