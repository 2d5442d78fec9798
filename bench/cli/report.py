"""`clusterbench report`."""

from functools import partial
from pathlib import Path

import rich_click as click

from bench.cli.ending import Ending, print_json
from bench.cli.verb import Verb, json_option


@click.command(cls=Verb)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--anonymise", is_flag=True, help="Leave out names of hosts, users and folders.")
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the page; the first run's own if not given.",
)
@click.option(
    "--machine",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A machine file to take bounds from instead of what the runs had.",
)
@json_option
def report(
    runs: tuple[Path, ...],
    anonymise: bool,
    folder: Path | None,
    machine: Path | None,
    as_json: bool,
) -> Ending:
    """Write the page and its figures again, of one run or of several together."""
    from bench.report import build
    from bench.store.folder import open_run

    opened = [open_run(path) for path in runs]
    if machine is not None:
        from bench.predict.bounds import bound_again

        opened = [bound_again(run, machine) for run in opened]
    page = build(opened, folder or opened[0].path, anonymise)
    return Ending(partial(print_json, {"report": str(page)}) if as_json else partial(print, page))
