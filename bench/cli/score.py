"""`clusterbench score`."""

from functools import partial
from pathlib import Path

import rich_click as click

from bench.cli.ending import EXIT_OK, Ending, complain, print_judged, verdict_code
from bench.cli.verb import Verb, json_option
from bench.core.errors import BenchError, printable


@click.command(cls=Verb)
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def score(run_path: Path, as_json: bool) -> Ending:
    """How far predictions were from what was measured, on cases they were not fitted on."""
    from bench.judge.score import score as score_run
    from bench.judge.score import score_text
    from bench.judge.verdicts import judge_score
    from bench.store.folder import open_run
    from bench.store.verdicts import keep_verdict

    run = open_run(run_path)
    if changed := run.changed():
        names = ", ".join(changed[:3])
        complain(f"{len(changed)} files of the run are not what it left ({names})", EXIT_OK)
    result = score_run(run)
    verdict = judge_score(result)
    code = verdict_code(verdict)
    try:
        keep_verdict(run.path, "score", verdict)
    except BenchError as error:
        complain(f"the score is not kept: {error}", code)
    text = "\n".join([*score_text(result), printable(verdict.text, 600)])
    show = partial(print_judged, result, verdict) if as_json else partial(print, text)
    return Ending(show, code)
