"""What an arm sets: `KEY=VALUE` as it is typed, and what it means for the arm's request."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench import __version__
from bench.core.errors import RequestError, nearest, printable
from bench.core.program import text_command
from bench.machine.mpi import ask
from bench.machine.software import MCA_PREFIXES
from bench.run.request import Request

KEYS = ("env.NAME", "mca.NAME", "launcher", "hosts", "hostfile", "mpi", "mpirun", "bind", "label")
"""What an arm may set; `mpi` is the folder of another Python environment, or its Python."""
_PLAIN = KEYS[2:]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BINDINGS = ("auto", "core", "none")
_ASK_S = 60.0
"""Importing this package from a cold network file system takes a while."""
_MARKER = "clusterbench-version "


class ArmChoice(NamedTuple):
    """What an arm is by what it sets."""

    request: Request
    parameters: tuple[str, ...]
    """Of Open MPI that it sets."""
    python: str | None
    """Of its environment; None for this one."""


def parse_keys(option: str, words: Sequence[str]) -> dict[str, str]:
    """Return what was typed, by key.

    Args:
        option: `--a` or `--b`, which begins every message.
        words: each a `KEY=VALUE`.

    Raises:
        RequestError: where one is none, its key is unknown, or stands there twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        shown = printable(key)
        if not equals:
            raise RequestError(f"{option} {printable(word)}: no value; write KEY=VALUE")
        _check_key(option, key)
        if "\0" in value or (not value and not key.startswith("env.")):
            raise RequestError(f"{option} {shown}=: no value; write {shown}=VALUE")
        if key in found:
            raise RequestError(f"{option} sets {shown} twice; leave one of them out")
        found[key] = value
    if "hosts" in found and "hostfile" in found:
        raise RequestError(f"{option} sets hosts and hostfile; leave one of them out")
    parameters = {f"env.{MCA_PREFIXES['openmpi']}{name}": name for name in _parameters(found)}
    for variable, name in parameters.items():
        if variable in found:
            raise RequestError(
                f"{option} sets mca.{name} and {variable}, which are the same; leave one of them "
                "out"
            )
    if found.get("bind", "auto") not in _BINDINGS:
        raise RequestError(
            f"{option} bind={printable(found['bind'])}: {nearest(found['bind'], _BINDINGS)}"
        )
    return found


def _check_key(option: str, key: str) -> None:
    if key in _PLAIN:
        return
    kind, dot, name = key.partition(".")
    if dot and kind in ("env", "mca"):
        if not _NAME.fullmatch(name):
            raise RequestError(
                f"{option} {printable(key)}: {printable(name)!r} is no name; use letters, digits "
                "and _"
            )
        return
    if _NAME.fullmatch(key) and key.isupper():
        raise RequestError(f"{option}: no key {printable(key)!r}; a variable is env.{key}=VALUE")
    raise RequestError(f"{option}: no key {printable(key)!r}; {nearest(key, KEYS)}")


def _parameters(sets: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(key.removeprefix("mca.") for key in sets if key.startswith("mca."))


def choose_arm(option: str, sets: Mapping[str, str], request: Request) -> ArmChoice:
    """Return what an arm is: what is asked for of both, with what it sets in place of that.

    Raises:
        RequestError: where another Python environment cannot take part.
    """
    variables = {k.removeprefix("env."): v for k, v in sets.items() if k.startswith("env.")}
    prefix = MCA_PREFIXES["openmpi"]
    variables |= {f"{prefix}{name}": sets[f"mca.{name}"] for name in _parameters(sets)}
    changed = {key: sets[key] for key in ("launcher", "mpirun", "bind", "label") if key in sets}
    request = msgspec.structs.replace(request, variables=request.variables | variables, **changed)
    if "hosts" in sets:
        request = msgspec.structs.replace(request, hosts=sets["hosts"], hostfile=None)
    if "hostfile" in sets:
        file = Path(sets["hostfile"]).absolute()
        request = msgspec.structs.replace(request, hosts=None, hostfile=file)
    python = find_python(option, sets["mpi"]) if "mpi" in sets else None
    return ArmChoice(request, _parameters(sets), python)


def find_python(option: str, where: str) -> str:
    """Return the Python of another environment, which has this version of the program.

    Raises:
        RequestError: where it has not.
    """
    shown = f"{option} mpi={printable(where, 200)}"
    path = Path(where).absolute()
    python = path / "bin" / "python" if path.is_dir() else path
    if not python.is_file():
        raise RequestError(
            f"{shown}: no Python environment there; give its folder, which has bin/python"
        )
    answer = ask(text_command(_QUESTION, str(python)), _ASK_S)
    lines = answer.stdout.splitlines() if answer else []
    found = [line.removeprefix(_MARKER) for line in lines if line.startswith(_MARKER)]
    if not found:
        said = answer.stderr.strip().splitlines() if answer else ["it did not answer in time"]
        why = printable(said[-1], 200) if said else "it said nothing"
        raise RequestError(
            f"{shown}: no clusterbench in that environment ({why}); install {__version__} into it"
        )
    if found[0] != __version__:
        raise RequestError(
            f"{shown}: clusterbench there is {printable(found[0])}, here it is {__version__}; "
            "install the same into both"
        )
    return str(python)


_QUESTION = f"import bench, mpi4py; print({_MARKER!r} + bench.__version__)"
