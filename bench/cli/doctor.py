"""`clusterbench doctor`."""

from functools import partial
from typing import TYPE_CHECKING

import rich_click as click

from bench.cli.ending import Ending, print_judged, verdict_code
from bench.cli.verb import Verb, json_option
from bench.core.errors import printable

if TYPE_CHECKING:
    from bench.core.verdict import Verdict
    from bench.machine.doctor import Diagnosis

_STYLES = {"stop": "bold red", "warning": "yellow", "note": "dim"}


@click.command(cls=Verb)
@json_option
def doctor(as_json: bool) -> Ending:
    """What is here, what it means for measuring, and what to fix first."""
    from bench.machine.doctor import examine

    diagnosis = examine()
    verdict = diagnosis.verdict
    show = print_judged if as_json else _print_diagnosis
    return Ending(partial(show, diagnosis, verdict), verdict_code(verdict))


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
