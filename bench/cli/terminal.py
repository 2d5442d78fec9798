"""What commands print for people: tables on standard output."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.errors import printable
from bench.judge.findings import BEATS_BOUND
from bench.judge.hosts import STANDS_OUT
from bench.launch import LAUNCHERS
from bench.machine.catalogue import load as load_hardware
from bench.machine.doctor import Diagnosis
from bench.machine.facts import facts_table
from bench.measure import MEASUREMENTS
from bench.plan.suite import load_suite, suite_names
from bench.predict.model import FITS
from bench.run.session import Ended
from bench.store.folder import open_run

_STYLES = {"stop": "bold red", "warning": "yellow", "note": "dim"}


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what a node is, and what on it will spoil a measurement."""
    console = Console()
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


def catalogue() -> dict[str, Any]:
    """Return everything that `list` shows."""
    return {
        "benchmarks": {
            name: {
                "title": measurement.title,
                "axes": {axis.name: axis.advice for axis in measurement.axes},
            }
            for name, measurement in MEASUREMENTS.items()
        },
        "suites": {name: load_suite(name).description for name in suite_names()},
        "launchers": {name: kind.text for name, kind in LAUNCHERS.items()},
        "models": {
            name: _first_line(FITS[measurement.profile.fit])
            for name, measurement in MEASUREMENTS.items()
        },
        "hardware": _hardware(),
    }


def _hardware() -> dict[str, dict[str, str]]:
    """Return the rows of the catalogue by kind: name, and what it is."""
    rows = load_hardware()
    return {
        "links": {name: f"{row.title}, {row.payload}" for name, row in rows.links.items()},
        "slots": {
            name: f"{row.transfers} per lane; -x4, -x8 and -x16 name a link"
            for name, row in rows.pcie.items()
        },
        "fabrics": {name: f"{row.title}, {row.payload}" for name, row in rows.fabrics.items()},
        "NICs": {
            name: f"{row.title}, {row.ports[0]} in {row.host[0]}" for name, row in rows.nics.items()
        },
        "GPUs": {
            name: f"{row.title}, {row.memory.size}, {row.memory.bandwidth}"
            for name, row in rows.gpus.items()
        },
        "nodes": {
            name: f"{row.title}, {row.gpus} x {row.gpu}, {row.payload}"
            for name, row in rows.nodes.items()
        },
    }


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").partition("\n")[0]


def print_catalogue(things: dict[str, Any]) -> None:
    """Print what `catalogue` returned."""
    console = Console()
    for kind, members in things.items():
        if kind == "hardware":
            _print_hardware(console, members)
            continue
        table = Table(title=kind, title_justify="left", show_header=False, box=None)
        shown = _by_model(members) if kind == "models" else members
        for name, about in shown.items():
            if isinstance(about, dict):
                axes = ", ".join(about["axes"])
                table.add_row(name, f"{about['title']}\n[dim]axes: {axes}[/]")
            else:
                table.add_row(name, about)
        console.print(table)
        console.print()


def _by_model(models: dict[str, str]) -> dict[str, str]:
    """Return the benchmarks of each model together: many share one."""
    names: dict[str, list[str]] = {}
    for name, does in models.items():
        names.setdefault(does, []).append(name)
    return {", ".join(members): does for does, members in names.items()}


def _print_hardware(console: Console, kinds: dict[str, dict[str, str]]) -> None:
    """Print the names alone: what each is, `list --json` and `predict` show."""
    table = Table(title="hardware of the catalogue, each way", title_justify="left",
                  show_header=False, box=None)  # fmt: skip
    for kind, rows in kinds.items():
        table.add_row(kind, ", ".join(rows))
    console.print(table)
    console.print("[dim]what each is: clusterbench list --json[/]")


def print_headline(ended: Ended) -> None:
    """Print the figures that a run is first asked for, and how its rows ended."""
    from bench.judge.headline import headlines
    from bench.judge.table import load

    console = Console()
    run = open_run(ended.folder)
    table = Table(title=f"{run.meta.suite_name} ({run.meta.origin})", title_justify="left")
    for title in ("", "measured", "reached in"):
        table.add_column(title)
    for headline in headlines(load(run)):
        table.add_row(escape(headline.what), headline.text, escape(headline.name))
    console.print(table)
    for finding in run.meta.findings:
        if finding.name in (STANDS_OUT, BEATS_BOUND):
            console.print(f"[yellow]{escape(printable(finding.text, 600))}[/]", highlight=False)
    counts = ", ".join(f"{count} {status}" for status, count in ended.counts.items() if count)
    console.print(f"rows: {counts or 'none'}; {ended.outcome}", highlight=False)
    page = ended.folder / "report.html"
    if page.is_file():
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
