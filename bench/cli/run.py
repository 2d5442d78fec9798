"""`clusterbench run`."""

from pathlib import Path
from typing import Any

import rich_click as click

from bench.cli.ending import Ending
from bench.cli.finish import finish
from bench.cli.verb import Verb, json_option, parent_option, report_option, request_options


@click.command(cls=Verb)
@click.argument("suite")
@request_options
@json_option
@parent_option("run's")
@report_option
def run(as_json: bool, parent: Path, no_report: bool, **asked: Any) -> Ending:
    """Measure a suite; the last line printed is the folder of the run.

    SUITE is a name from `clusterbench list`, or the path of a file such as ./mine.toml.
    """
    from bench.run.request import make_request
    from bench.run.session import carry_out

    return finish(carry_out(make_request(asked), parent), no_report, as_json)
