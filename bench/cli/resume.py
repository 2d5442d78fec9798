"""`clusterbench resume`."""

from pathlib import Path

import rich_click as click

from bench.cli.ending import Ending
from bench.cli.finish import finish
from bench.cli.verb import Verb, json_option, report_option


@click.command(cls=Verb)
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--force", is_flag=True, help="Resume although MPI or program have changed.")
@report_option
@json_option
def resume(run_path: Path, force: bool, no_report: bool, as_json: bool) -> Ending:
    """Measure what is missing in a run, in its own folder, and nothing else."""
    from bench.run.session import carry_on

    return finish(carry_on(run_path, force), no_report, as_json)
