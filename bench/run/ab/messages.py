"""What a comparison and the process of an arm say to each other: a line of JSON each time."""

from pathlib import Path

import msgspec

from bench.core.errors import BenchError, LaunchError, RequestError, StorageError
from bench.run.request import Request, decode_path

_ERRORS = {
    "request": RequestError,
    "launch": LaunchError,
    "storage": StorageError,
}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm is: the first line that its process reads."""

    side: str
    request: Request
    suite_text: str
    suite_source: str
    """Begins what is said of the suite."""
    folder: Path | None = None
    """Of its run, where it has begun."""
    parameters: tuple[str, ...] = ()
    """Of Open MPI that it sets; another MPI would not heed them."""
    nodes: int | None = None
    """That a launch runs on, where those are not all of the arm."""
    by_hand: bool = False
    """Whether something was changed by hand since its run began, and should be back by now."""
    force: bool = False
    """Whether it goes on although MPI, program or hosts have changed."""


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """Begin the run: the machine is looked at, and loops are compiled."""

    folder: Path
    """Of the run, within that of the comparison."""


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Measure what is missing of one launch of a run that has begun."""

    launch: int
    launches: int
    """Planned of the arm by now."""
    hosts: tuple[str, ...] = ()
    """To run on; all of the arm where there are none."""


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Close the run: nothing more of it is measured by this process."""


Demand = Begin | Measure | Close


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """An arm can be measured."""

    seed: int
    """Of the order of its cases."""
    cases: int
    """Of a launch."""
    mpi: str | None
    hosts: tuple[str, ...]
    notes: tuple[str, ...]
    """What a person should know."""
    unfinished: tuple[int, ...] = ()
    """Launches of a run that has begun in which something is missing."""


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun"):
    """The run has begun."""


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag="launched"):
    """A launch is over."""

    launch: int
    seconds: float
    """That it took, from the demand on."""
    times_s: dict[str, float]
    """Of its cases that were measured: the time that is compared, of several places the median."""
    failed: int
    """Rows."""
    reason: str | None
    """Why the first of them failed."""
    changed: tuple[str, ...] = ()
    """What of the machine is not as it was when the run began."""


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """The run is closed, or none had begun."""

    interrupted: bool


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """An arm cannot go on."""

    kind: str
    text: str

    def error(self, whose: str) -> BenchError:
        """Return it as the error that it is."""
        return _ERRORS.get(self.kind, LaunchError)(f"{whose}: {self.text}")


Answer = Ready | Begun | Launched | Closed | Refused


def refuse(error: BenchError) -> Refused:
    """Return an error as an answer."""
    kind = next((k for k, of in _ERRORS.items() if isinstance(error, of)), "launch")
    return Refused(kind=kind, text=str(error))


def encode(message: Task | Demand | Answer) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def decode_task(line: bytes) -> Task:
    """Return the task of a line.

    Raises:
        msgspec.MsgspecError: where it is none.
    """
    return msgspec.json.decode(line, type=Task, dec_hook=decode_path)


def decode_demand(line: bytes) -> Demand:
    """Return the demand of a line.

    Raises:
        msgspec.MsgspecError: where it is none.
    """
    demand: Demand = _demands.decode(line)
    return demand


def decode_answer(line: bytes) -> Answer:
    """Return the answer of a line.

    Raises:
        msgspec.MsgspecError: where it is none.
    """
    answer: Answer = _answers.decode(line)
    return answer


_demands = msgspec.json.Decoder(Demand, dec_hook=decode_path)
_answers = msgspec.json.Decoder(Answer)
