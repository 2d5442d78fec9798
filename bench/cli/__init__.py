"""The command line: parse, call, print; the only exit codes.

Results go to standard output, progress and advice to standard error. What a command needs beyond
its arguments is imported inside it, so that `--help` is instant.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from bench import __version__
from bench.cli.predict import predict
from bench.core.errors import BenchError, RequestError, nearest, printable

if TYPE_CHECKING:
    from bench.run.request import Request
    from bench.run.session import Ended

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_UNDECIDED = 3
EXIT_INTERRUPTED = 130


class _Group(click.RichGroup):
    """A group that names the nearest command where one is unknown."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if args and self.get_command(ctx, name) is None:
            raise click.UsageError(
                f"no command {printable(name)!r}; {nearest(name, self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)


def main() -> None:
    """Run the command line and exit with the code of the outcome."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Carry out a command line; errors become one line on standard error and an exit code."""
    for argument in arguments:
        # Bytes that are no UTF-8 come as lone surrogates, which no file of a run can hold.
        if any("\ud800" <= character <= "\udfff" for character in argument):
            return _complain(f"{printable(argument)} is not UTF-8 text", RequestError.exit_code)
    try:
        code = commands.main(arguments, prog_name="clusterbench", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        return _complain(message, RequestError.exit_code)
    except BenchError as error:
        return _complain(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", EXIT_INTERRUPTED)
    except (BrokenPipeError, SystemExit):
        # The reader of our output has gone, as `| head` does: nothing is left to print. (Click and
        # rich see that first, and turn it into an exit of their own.)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        message = f"{what}{error.strerror or error}; what was written before is kept"
        return _complain(message, BenchError.exit_code)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int) -> int:
    print(f"clusterbench: {printable(message, 1000)}", file=sys.stderr)
    return code


def _print_json(value: object) -> None:
    import msgspec

    text = msgspec.json.encode(value, enc_hook=str)
    print(json.dumps(json.loads(text), indent=1))


def _request_options(command: Command) -> Command:
    """Add the options that `plan` and `run` share."""
    options = (
        click.option("-n", "ranks", type=click.IntRange(1, 1_000_000), metavar="RANKS",
                     help="Ranks of every benchmark; beats the suite."),
        click.option("--launcher", default="mpirun", show_default=True, metavar="NAME",
                     help="mpirun, srun, sbatch, pbs, local (no MPI) or replay."),
        click.option("--mpirun", metavar="PATH", help="The mpirun to use, of any MPI."),
        click.option("--hosts", metavar="A,B",
                     help="Hosts to run on, over SSH or from a scheduler."),
        click.option("--hostfile", type=click.Path(path_type=Path), metavar="FILE",
                     help="A file with one host on each line."),
        click.option("--bind", type=click.Choice(["auto", "core", "none"]), default="auto",
                     show_default=True, help="Bind ranks to cores; none where hosts share them."),
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
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N",
                     help="Seed of the order of cases."),
        click.option("--replay", type=click.Path(path_type=Path), metavar="RUN",
                     help="The stored run that --launcher replay plays back."),
        click.option("--machine", type=click.Path(path_type=Path), metavar="FILE",
                     help="A seller's description of the machine; bounds are taken from it."),
        click.option("--label", metavar="TEXT", help="A word to keep with the run."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group(
    cls=_Group,
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


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """What is here, what it means for measuring, and what to fix first."""
    from bench.machine.doctor import examine

    diagnosis = examine()
    if as_json:
        _print_json(diagnosis)
    else:
        from bench.cli.terminal import print_diagnosis

        print_diagnosis(diagnosis)
    return EXIT_UNDECIDED if diagnosis.stopped else 0


@commands.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_things(as_json: bool) -> None:
    """Benchmarks with their axes, suites, launchers, models and known hardware."""
    from bench.cli.terminal import catalogue, print_catalogue

    if as_json:
        _print_json(catalogue())
    else:
        print_catalogue(catalogue())


@commands.command()
@click.argument("suite")
@_request_options
def plan(as_json: bool, **asked: Any) -> None:
    """Exactly what `run` with the same flags would start; nothing is started."""
    from bench.run.session import prepare

    prepared = prepare(_request(asked))
    jobs = [(job, prepared.launcher.command(job)) for job in prepared.plan.jobs]
    if as_json:
        _print_json(
            {
                "suite": prepared.plan.suite.name,
                "seed": prepared.plan.seed,
                "launches": prepared.plan.launches,
                "rows": prepared.plan.cases(),
                "jobs": [{"job": job, "command": command} for job, command in jobs],
            }
        )
        return
    print(
        f"suite {prepared.plan.suite.name}, seed {prepared.plan.seed}, "
        f"{prepared.plan.launches} launches, {len(jobs)} jobs, {prepared.plan.cases()} rows"
    )
    for job, command in jobs:
        env = [f"{name}={value}" for name, value in command.env.items()]
        print(f"\njob {job.id}: {len(job.cases)} cases")
        print(f"  {shlex.join([*env, *command.tokens])}")
        for case in job.cases:
            print(f"    {case.id}")


@commands.command()
@click.argument("suite")
@_request_options
@click.option(
    "-o",
    "parent",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Folder that gets the run's folder.",
)
@click.option("--no-report", is_flag=True, help="Write no page and no figures.")
def run(as_json: bool, parent: Path, no_report: bool, **asked: Any) -> int:
    """Measure a suite; the last line printed is the folder of the run.

    SUITE is a name from `clusterbench list`, or the path of a file such as ./mine.toml.
    """
    from bench.run.session import carry_out

    return _finish(carry_out(_request(asked), parent), no_report, as_json)


@commands.command()
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--force", is_flag=True, help="Resume although MPI or program have changed.")
@click.option("--no-report", is_flag=True, help="Write no page and no figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def resume(run_path: Path, force: bool, no_report: bool, as_json: bool) -> int:
    """Measure what is missing in a run, in its own folder, and nothing else."""
    from bench.run.session import carry_on

    return _finish(carry_on(run_path, force), no_report, as_json)


@commands.command()
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")  # fmt: skip
def report(
    runs: tuple[Path, ...],
    anonymise: bool,
    folder: Path | None,
    machine: Path | None,
    as_json: bool,
) -> None:
    """Write the page and its figures again, of one run or of several together."""
    from bench.report import build
    from bench.store.folder import open_run

    opened = [open_run(path) for path in runs]
    if machine is not None:
        from bench.predict.bounds import bound_again

        opened = [bound_again(run, machine) for run in opened]
    page = build(opened, folder or opened[0].path, anonymise)
    if as_json:
        _print_json({"report": str(page)})
    else:
        print(page)


@commands.command()
@click.argument("run_path", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(run_path: Path, as_json: bool) -> int:
    """How far predictions were from what was measured, on cases they were not fitted on."""
    from bench.judge.score import score as score_run
    from bench.judge.score import score_text
    from bench.store.folder import open_run

    result = score_run(open_run(run_path))
    if as_json:
        _print_json(result)
    else:
        print("\n".join(score_text(result)))
    return 0 if result.complete else EXIT_UNDECIDED


commands.add_command(predict)


def _request(asked: dict[str, Any]) -> "Request":
    from bench.run.request import make_request

    return make_request(asked)


def _write_report(folder: Path) -> None:
    """Write the page; a run stays good where its page fails."""
    from bench.report import build
    from bench.store.folder import open_run

    try:
        build([open_run(folder)], folder)
    except OSError as error:
        _complain(f"the report could not be written: {error.strerror}", 0)


def _finish(ended: "Ended", no_report: bool, as_json: bool) -> int:
    if not no_report:
        _write_report(ended.folder)
    if as_json:
        _print_json({"run": str(ended.folder), "outcome": ended.outcome, "rows": ended.counts})
    else:
        from bench.cli.terminal import print_headline

        print_headline(ended)
        print(ended.folder)
    return ended.exit_code
