"""`clusterbench doctor`."""

from functools import partial
from typing import TYPE_CHECKING

import rich_click as click

from bench.cli.outcome import EXIT_OK, EXIT_UNDECIDED, Outcome, print_json
from bench.cli.verb import Verb, json_option
from bench.core.errors import printable

if TYPE_CHECKING:
    from bench.machine.doctor import Diagnosis

_STYLES = {"stop": "bold red", "warning": "yellow", "note": "dim"}


@click.command(cls=Verb)
@json_option
def doctor(as_json: bool) -> Outcome:
    """What is here, what it means for measuring, and what to fix first."""
    from bench.machine.doctor import examine

    diagnosis = examine()
    show = print_json if as_json else _print_diagnosis
    return Outcome(partial(show, diagnosis), EXIT_UNDECIDED if diagnosis.stopped else EXIT_OK)


def _print_diagnosis(diagnosis: "Diagnosis") -> None:
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
    verdict = "`clusterbench run quick` would fail" if diagnosis.stopped else "ready to measure"
    console.print(f"\n{verdict}")
