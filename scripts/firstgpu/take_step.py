"""One step in a process of its own: python -m firstgpu.take_step NAME FOLDER."""

import importlib
import sys
import traceback
from pathlib import Path

import firstgpu.deadline  # noqa: F401 - the time that is left counts from here
from firstgpu.answer import Answer, NotHereError, Outcome, read_answer


def take(name: str, folder: Path) -> Answer:
    """Return the answer of a step; an error is one too."""
    try:
        answer: Answer = importlib.import_module(f"firstgpu.{name}").ask(folder)
    except NotHereError as missing:
        return Answer(Outcome.OPEN, str(missing), "asked again once that is here")
    except Exception as error:  # noqa: BLE001 - whatever it is, the next step goes on
        traceback.print_exc()
        so_far = read_answer(folder)
        table = so_far.table if so_far else []
        return Answer(Outcome.WRONG, f"{type(error).__name__}: {error}", "look at its log", table)
    return answer


if __name__ == "__main__":
    where = Path(sys.argv[2])
    take(sys.argv[1], where).write(where)
