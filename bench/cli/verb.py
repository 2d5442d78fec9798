"""What the commands share: how click reads one, and the options that several have.

Click only reads a command line; what was asked for is carried out after it, since click turns some
errors into exits of its own.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from bench.core.errors import nearest, printable

Command = TypeVar("Command", bound=Callable[..., Any])


class Verb(click.RichCommand):
    """A command whose function returns an `Ending`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Return what carries the command out, instead of carrying it out."""
        return functools.partial(self.callback, **ctx.params) if self.callback else None


class VerbGroup(click.RichGroup):
    """A group of commands that names the nearest one where one is unknown."""

    command_class = Verb

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if args and self.get_command(ctx, name) is None:
            raise click.UsageError(
                f"no command {printable(name)!r}; {nearest(name, self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def report_option(command: Command) -> Command:
    """Add `--no-report`, of commands that measure."""
    return click.option("--no-report", is_flag=True, help="Write no page and no figures.")(command)


def parent_option(whose: str) -> Callable[[Command], Command]:
    """Return what adds `-o`, of commands that make a folder.

    Args:
        whose: that folder is, such as `run's`.
    """
    return click.option(
        "-o",
        "parent",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        metavar="DIR",
        help=f"Folder that gets the {whose} folder.",
    )


def request_options(command: Command) -> Command:
    """Add the options that `plan` and `run` share."""
    options = (
        click.option("-n", "ranks", type=click.IntRange(1, 1_000_000), metavar="RANKS",
                     help="Ranks of every benchmark; beats the suite."),
        click.option("--launcher", default="mpirun", show_default=True, metavar="NAME",
                     help="mpirun, srun, sbatch, pbs, local (no MPI) or replay."),
        click.option("--mpirun", metavar="PATH", help="The mpirun to use, of any MPI."),
        click.option("--hosts", metavar="A,B",
                     help="Hosts to run on, such as node[1-4]:8, with ranks of each if need be."),
        click.option("--hostfile", type=click.Path(path_type=Path), metavar="FILE",
                     help="A host file of any MPI or batch system."),
        click.option("--bind", type=click.Choice(["auto", "core", "none"]), default="auto",
                     show_default=True,
                     help="Bind ranks to cores; auto: none where they outnumber cores."),
        click.option("--nodes", type=click.IntRange(1, 100_000), metavar="N",
                     help="Nodes to ask a scheduler for."),
        click.option("--site", type=click.Path(path_type=Path), metavar="FILE",
                     help="Settings for a scheduler; CLUSTERBENCH_SITE names a default."),
        click.option("--container", metavar="IMAGE",
                     help="Start ranks in a container, with srun, sbatch or pbs."),
        click.option("--work", type=click.Path(path_type=Path), metavar="DIR",
                     help="Folder that batch jobs share with their nodes; the run's own if not "
                     "given."),
        click.option("--launches", type=click.IntRange(1, 10_000), metavar="N",
                     help="Times that every case is measured in a launch of its own."),
        click.option("--budget", metavar="TIME",
                     help="Time that the run may take, such as 60s or 10min; sampling, repeats and "
                     "sizes are cut to fit it."),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N",
                     help="Seed of the order of cases."),
        click.option("--replay", type=click.Path(path_type=Path), metavar="RUN",
                     help="The stored run that --launcher replay plays back."),
        click.option("--machine", type=click.Path(path_type=Path), metavar="FILE",
                     help="A seller's description of the machine; bounds are taken from it."),
        click.option("--label", metavar="TEXT", help="A word to keep with the run."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
