"""`clusterbench doctor`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bench.cli.ending import Ending, print_judged, verdict_code
from bench.cli.verb import Verb, json_option
from bench.core.errors import printable

if TYPE_CHECKING:
    from bench.core.records import Finding
    from bench.core.verdict import Verdict
    from bench.machine.doctor import Diagnosis

_STYLES = {"stop": "bold red", "warning": "yellow", "note": "dim"}


@click.command(cls=Verb)
@click.option("--hosts", metavar="A,B", help="Hosts to ask too, over SSH.")
@click.option(
    "--hostfile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with one host on each line.",
)
@json_option
def doctor(as_json: bool, hosts: str | None, hostfile: Path | None) -> Ending:
    """What is here, what it means for measuring, and what to fix first.

    With hosts, also whether each of them can take part in a run, and which addresses several have.
    """
    import msgspec

    from bench.machine.doctor import by_gravity, examine

    diagnosis = examine()
    if hosts is not None or hostfile is not None:
        found = _ask(hosts, hostfile, diagnosis)
        diagnosis = msgspec.structs.replace(diagnosis, findings=by_gravity(found))
    verdict = diagnosis.verdict
    show = print_judged if as_json else _print_diagnosis
    return Ending(partial(show, diagnosis, verdict), verdict_code(verdict))


def _ask(hosts: str | None, hostfile: Path | None, here: "Diagnosis") -> "list[Finding]":
    """Return what was found here, and by asking the hosts."""
    from bench.run.fitness import check_hosts, leave_out_shared
    from bench.run.request import Request

    names = Request(suite="", hosts=hosts, hostfile=hostfile).host_list().names
    found = check_hosts(names, here.mpi.name if here.mpi else None)
    return [*leave_out_shared(here.findings, found), *found]


def _print_diagnosis(diagnosis: "Diagnosis", verdict: "Verdict") -> None:
    """Print what a node is, and what on it will spoil a measurement."""
    from rich.markup import escape
    from rich.table import Table

    from bench.cli.console import Output
    from bench.machine.facts import facts_table

    console = Output()
    facts = Table(show_header=False, box=None, pad_edge=False)
    for label, value in facts_table(diagnosis.facts):
        facts.add_row(escape(label), escape(printable(value, 400)))
    console.print(facts)
    console.print()
    if not diagnosis.findings:
        console.print("Nothing here that would spoil a measurement was found.")
    for finding in diagnosis.findings:
        style = _STYLES[finding.level]
        console.print(
            f"[{style}]{finding.level}[/] {escape(printable(finding.text, 600))}", highlight=False
        )
        if finding.advice:
            console.print(f"     → {escape(printable(finding.advice, 600))}", highlight=False)
    console.print(f"\n{escape(printable(verdict.text, 600))}", highlight=False)
