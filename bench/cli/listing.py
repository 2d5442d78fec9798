"""`clusterbench list`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import rich_click as click

from bench.cli.ending import Ending, print_json
from bench.cli.verb import Verb, json_option

if TYPE_CHECKING:
    from rich.console import Console


@click.command(cls=Verb, name="list")
@json_option
def list_things(as_json: bool) -> Ending:
    """Benchmarks with their axes, suites, launchers, models and known hardware."""
    return Ending(partial(print_json if as_json else _print_catalogue, _catalogue()))


def _catalogue() -> dict[str, Any]:
    """Return everything that `list` shows."""
    from bench.launch import LAUNCHERS
    from bench.measure import MEASUREMENTS
    from bench.plan.suite import load_suite, suite_names
    from bench.predict.model import FITS

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
    from bench.machine.catalogue import load

    rows = load()
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


def _print_catalogue(things: dict[str, Any]) -> None:
    """Print what `_catalogue` returned."""
    from rich.table import Table

    from bench.cli.console import Output

    console = Output()
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


def _print_hardware(console: "Console", kinds: dict[str, dict[str, str]]) -> None:
    """Print the names alone: what each is, `list --json` and `predict` show."""
    from rich.table import Table

    table = Table(title="hardware of the catalogue, each way", title_justify="left",
                  show_header=False, box=None)  # fmt: skip
    for kind, rows in kinds.items():
        table.add_row(kind, ", ".join(rows))
    console.print(table)
    console.print("[dim]what each is: clusterbench list --json[/]")
