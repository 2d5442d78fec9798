"""How the Python programs of this harness are started: none imports from the current folder.

A `numpy.py` or `random.py` that lies where somebody works would else be taken for the library.
"""

import contextlib
import os
import sys
from pathlib import Path


def module_command(module: str, python: str | None = None) -> tuple[str, ...]:
    """Return the tokens that run a module; `-m` alone puts the current folder before all others.

    Args:
        module: of this package.
        python: this program's own if not given.
    """
    return (python or sys.executable, "-P", "-m", module)


def text_command(text: str, python: str | None = None) -> tuple[str, ...]:
    """Return the tokens that run a program text.

    Args:
        text: of the program.
        python: this program's own if not given.
    """
    return (python or sys.executable, "-P", "-c", text)


def shun_current_folder() -> None:
    """Import nothing from the current folder, here and in every process that inherits from here.

    `python -m` puts it on the path, and so does an empty entry of PYTHONPATH, which is what
    `export PYTHONPATH=$PYTHONPATH:/opt/x` leaves where it was not set. A folder that is named there
    stays, and so does the one that this package is in.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if named:
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
    else:
        os.environ.pop("PYTHONPATH", None)
    here = ""
    with contextlib.suppress(OSError):  # it may have been removed
        here = str(Path.cwd())
    if here not in (*named, str(Path(__file__).resolve().parents[2])):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
