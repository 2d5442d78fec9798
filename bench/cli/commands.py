"""All commands: a new one is a file of this room and a line below."""

import rich_click as click

from bench import __version__
from bench.cli.ab import ab
from bench.cli.compare import compare
from bench.cli.doctor import doctor
from bench.cli.listing import list_things
from bench.cli.plan import plan
from bench.cli.predict import predict
from bench.cli.report import report
from bench.cli.resume import resume
from bench.cli.run import run
from bench.cli.score import score
from bench.cli.verb import VerbGroup


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="clusterbench")
@click.pass_context
def commands(context: click.Context) -> None:
    """Benchmarks for GPU clusters: measure every link, and know what to expect of it.

    Start with `clusterbench doctor`, then `clusterbench run quick`.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (
    doctor,
    list_things,
    plan,
    run,
    resume,
    ab,
    report,
    score,
    compare,
    predict,
):
    commands.add_command(command)
