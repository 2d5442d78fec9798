"""What differs between what two runs were asked for, and by which programs they were started."""

import re
from collections.abc import Iterator, Sequence

from bench.judge.changed.records import Difference, Kind, compare_maps, differ
from bench.judge.changed.suites import find_suite_changes
from bench.store.folder import RunFolder
from bench.store.meta import Measured
from bench.store.parts import Command

_NAMES = ("label", "machine", "hosts", "hostfile", "launches", "mpirun")
"""Flags that steer no launch, or whose effect is told elsewhere."""
_FORWARDED = "-x"
_PARAMETER = "--mca"
_HOSTS = frozenset({"--host", "--hostfile", "-hosts"})
_MCA = "OMPI_MCA_"
_PLACES = ("HOME",)


def find_request_changes(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    """Yield what differs in flags, commands, suite, version and MPI of two runs."""
    yield from compare_maps(Kind.COMMAND, "", _asked(a), _asked(b))
    yield from _compare_commands(a, b)
    yield from find_suite_changes(a.suite_text, b.suite_text)
    if a.meta.version != b.meta.version:
        yield differ(Kind.PROGRAM, "version", a.meta.version, b.meta.version)
    yield from compare_maps(Kind.MPI, "", _mpi(a), _mpi(b))


def _asked(run: RunFolder) -> dict[str, str]:
    made = run.meta.made
    if not isinstance(made, Measured):
        return {"tool": f"{made.tool} {made.tool_version or ''}".strip()}
    flags = {f"--{k}": str(v) for k, v in made.flags.items() if k not in _NAMES}
    return {"--launcher": made.launcher, **flags}


def _mpi(run: RunFolder) -> dict[str, str]:
    made = run.meta.made
    found = made.mpi if isinstance(made, Measured) else {}
    return {name: value for name, value in found.items() if value is not None}


# Commands.


def _compare_commands(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    """Yield the words that the commands of jobs of one shape have on one side alone."""
    if _mpi(a).get("name") != _mpi(b).get("name"):
        return  # every MPI spells its options in its own way
    commands = _by_shape(a), _by_shape(b)
    variables = [_variables(run) for run in (a, b)]
    told = set()
    for shape in commands[0].keys() & commands[1].keys():
        of_a, of_b = (side[shape] for side in commands)
        words = [
            _options(command.tokens, run, variables[1 - side])
            for side, (command, run) in enumerate(((of_a, a), (of_b, b)))
        ]
        alone = [
            " ".join(word for word in own if word not in other)
            for own, other in (words, words[::-1])
        ]
        if any(alone) and tuple(alone) not in told:
            told.add(tuple(alone))
            yield differ(Kind.COMMAND, "command", *(text or "without that" for text in alone))
        # What nodes tell of themselves is told as theirs.
        env = [
            {
                k: v
                for k, v in command.env.items()
                if k not in (*_PLACES, *variables[0], *variables[1])
            }
            for command in (of_a, of_b)
        ]
        yield from compare_maps(Kind.ENVIRONMENT, "", env[0], env[1])


def _by_shape(run: RunFolder) -> dict[tuple[int, int], Command]:
    """Return the first command for each number of ranks and of threads."""
    shapes = {job.id: (job.ranks, job.threads) for job in run.plan}
    found: dict[tuple[int, int], Command] = {}
    for command in run.commands:
        if command.job in shapes:
            found.setdefault(shapes[command.job], command)
    return found


def _variables(run: RunFolder) -> set[str]:
    """Return the variables that steer what is measured, of all nodes of a run."""
    found: set[str] = set()
    for facts in run.nodes.facts.values():
        for field in ("environment", "settings"):
            known = facts.get(field)
            found |= {str(key).partition(" in ")[0] for key in known or ()}
    return found


def _options(tokens: Sequence[str], run: RunFolder, elsewhere: set[str]) -> list[str]:
    """Return the words of a command with their values, without what differs by itself.

    That is the program's folder, files of the run, hosts, and what is told as environment: names
    that are handed on, and a parameter that the other side sets by a variable.
    """
    words: list[str] = []
    left = [_without_places(token, run) for token in tokens]
    while left:
        word, *left = left
        if word == _FORWARDED or word in _HOSTS:
            left = left[1:]
        elif word == _PARAMETER and len(left) > 1:
            name, value, *left = left
            if f"{_MCA}{name}" not in elsewhere:
                words.append(f"{word} {name} {value}")
        elif word.startswith("-") and left and not left[0].startswith("-"):
            words.append(f"{word} {left[0]}")
            left = left[1:]
        else:
            words.append(word)
    return words


def _without_places(token: str, run: RunFolder) -> str:
    if run.meta.run in token.split("/"):
        return "RUN"
    name, equals, value = token.partition("=")
    path = value if equals and name.startswith("-") else token
    short = path.rsplit("/", 1)[1] if re.match(r"/[^/]", path) else path
    return f"{name}={short}" if path is value else short
