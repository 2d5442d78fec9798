"""What stands beside `run.json`, each in a file of its own: what was asked, planned and found."""

from pathlib import Path

import msgspec

from bench.core.records import Case, Finding, Job
from bench.store.files import (
    COMMANDS_FILE,
    FINDINGS_FILE,
    MACHINE_FILE,
    PLAN_FILE,
    SUITE_FILE,
    replace_file,
)
from bench.store.jsons import decode_file, encode_lines, pretty, read_lines, unreadable
from bench.store.nodes import Nodes, read_nodes, write_nodes


class Command(msgspec.Struct, frozen=True):
    """One started job: its tokens, and what was added to the environment for it."""

    job: str
    attempt: int
    tokens: tuple[str, ...]
    env: dict[str, str]


class Parts(msgspec.Struct, kw_only=True):
    """All that a run holds beside `run.json`, its tables and its journal."""

    suite_text: str = ""
    """As it was given; empty where another tool measured."""
    machine_text: str | None = None
    """The machine file that bounds are taken from; None where none was given."""
    plan: tuple[Job, ...] = ()
    nodes: Nodes = msgspec.field(default_factory=Nodes)
    commands: list[Command] = []
    findings: list[Finding] = []


def write_parts(folder: Path, parts: Parts) -> None:
    """Write what is known: before the first job that is what was asked for and planned.

    Raises:
        OSError: where the disk is full or gone.
    """
    replace_file(folder / SUITE_FILE, parts.suite_text.encode())
    if parts.machine_text is not None:
        replace_file(folder / MACHINE_FILE, parts.machine_text.encode())
    replace_file(folder / PLAN_FILE, encode_lines(parts.plan))
    write_findings(folder, parts.findings)
    write_nodes(folder, parts.nodes)
    if parts.commands:
        replace_file(folder / COMMANDS_FILE, encode_lines(parts.commands))


def write_findings(folder: Path, findings: list[Finding]) -> None:
    """Replace `findings.json` in one step."""
    replace_file(folder / FINDINGS_FILE, pretty(findings))


def read_parts(folder: Path) -> Parts:
    """Return all parts of a run.

    Raises:
        RequestError: where one is damaged.
    """
    findings = folder / FINDINGS_FILE
    return Parts(
        suite_text=_read_text(folder / SUITE_FILE) or "",
        machine_text=_read_text(folder / MACHINE_FILE),
        plan=read_plan(folder),
        nodes=read_nodes(folder),
        commands=list(read_lines(folder / COMMANDS_FILE, Command)),
        findings=decode_file(findings, list[Finding]) if findings.exists() else [],
    )


def read_plan(folder: Path) -> tuple[Job, ...]:
    """Return the jobs of a run in order; a case is one object, however many launches it has.

    Raises:
        RequestError: where the file is damaged.
    """
    cases: dict[str, Case] = {}
    words: dict[str, str] = {}
    jobs = []
    for job in read_lines(folder / PLAN_FILE, Job):
        shared = tuple(cases.get(case.id) or _keep(case, cases, words) for case in job.cases)
        jobs.append(msgspec.structs.replace(job, cases=shared))
    return tuple(jobs)


def _keep(case: Case, cases: dict[str, Case], words: dict[str, str]) -> Case:
    """Keep a case by its id, with each of its words as the one object that others have too."""
    benchmark = words.setdefault(case.benchmark, case.benchmark)
    for axis, value in case.axes.items():
        if isinstance(value, str):
            case.axes[axis] = words.setdefault(value, value)
    kept = cases[case.id] = Case(case.id, benchmark, case.axes)
    return kept


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
