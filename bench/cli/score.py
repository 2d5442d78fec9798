"""`clusterbench score`."""

from functools import partial
from pathlib import Path

import rich_click as click

from bench.cli.outcome import EXIT_OK, EXIT_UNDECIDED, Outcome, complain, print_json
from bench.cli.verb import Verb, json_option


@click.command(cls=Verb)
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def score(run_path: Path, as_json: bool) -> Outcome:
    """How far predictions were from what was measured, on cases they were not fitted on."""
    from bench.judge.score import score as score_run
    from bench.judge.score import score_text
    from bench.store.folder import open_run

    run = open_run(run_path)
    if changed := run.changed():
        names = ", ".join(changed[:3])
        complain(f"{len(changed)} files of the run are not what it left ({names})", EXIT_OK)
    result = score_run(run)
    text = "\n".join(score_text(result))
    show = partial(print_json, result) if as_json else partial(print, text)
    return Outcome(show, EXIT_OK if result.complete else EXIT_UNDECIDED)
