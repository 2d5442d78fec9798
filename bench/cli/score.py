"""`clusterbench score`."""

from functools import partial
from pathlib import Path

import rich_click as click

from bench.cli.ending import Ending, print_judged, verdict_code
from bench.cli.kept import keep, tell_changed_files
from bench.cli.verb import Verb, json_option
from bench.core.errors import printable


@click.command(cls=Verb)
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def score(run_path: Path, as_json: bool) -> Ending:
    """How far predictions were from what was measured, on cases they were not fitted on."""
    from bench.judge.score import score as score_run
    from bench.judge.score import score_text
    from bench.judge.verdicts import judge_score
    from bench.store.folder import open_run

    run = open_run(run_path)
    tell_changed_files(run, "the run")
    result = score_run(run)
    verdict = judge_score(result)
    code = verdict_code(verdict)
    keep(run.path, "score", verdict, "score", code)
    text = "\n".join([*score_text(result), printable(verdict.text, 600)])
    show = partial(print_judged, result, verdict) if as_json else partial(print, text)
    return Ending(show, code)
