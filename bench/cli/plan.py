"""`clusterbench plan`."""

import shlex
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bench.cli.ending import Ending, print_json
from bench.cli.share import read_share
from bench.cli.verb import Verb, json_option, request_options
from bench.core.errors import RequestError
from bench.core.hostnames import fold_in_order

if TYPE_CHECKING:
    from bench.contracts import LaunchCommand
    from bench.core.placement import Placement
    from bench.core.records import Job
    from bench.judge.compare.power import Power
    from bench.run.recording import Prepared

    Commands = Sequence[tuple[Job, LaunchCommand]]

_MOST_CHANGE = 10.0
_MOST_NOISE = 1.0


@click.command(cls=Verb)
@click.argument("suite")
@request_options
@click.option(
    "--to-see",
    metavar="CHANGE",
    help="Say how many launches `compare` takes to see a change such as 5%.",
)
@click.option("--noise", metavar="SHARE", help="How far launches scatter, such as 1%.")
@click.option(
    "--noise-of",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="An earlier run, whose launches scatter as far.",
)
@json_option
def plan(
    as_json: bool, to_see: str | None, noise: str | None, noise_of: Path | None, **asked: Any
) -> Ending:
    """Exactly what `run` with the same flags would start; nothing is started."""
    from bench.run.request import make_request
    from bench.run.session import prepare

    known = [one for one in (noise, noise_of) if one is not None]
    if len(known) != (0 if to_see is None else 1):
        raise RequestError(
            "--to-see takes one of --noise and --noise-of, and they it: such as "
            "`clusterbench plan quick --to-see 5% --noise 1%`"
        )
    prepared = prepare(make_request(asked))
    power = None if to_see is None else _find_power(prepared, to_see, noise, noise_of)
    commands = [(job, prepared.launcher.command(job)) for job in prepared.plan.jobs]
    return Ending(partial(_print_as_json if as_json else _print, prepared, commands, power))


def _find_power(
    prepared: "Prepared", to_see: str, noise: str | None, noise_of: Path | None
) -> "Power":
    """Return how many launches a comparison of such runs takes."""
    from bench.judge.compare.power import find_noises, find_power
    from bench.store.folder import open_run

    change = read_share("--to-see", to_see, _MOST_CHANGE)
    noises = [read_share("--noise", noise, _MOST_NOISE)] if noise is not None else []
    if noise_of is not None:
        noises = find_noises(open_run(noise_of))
    cases = {case.id for job in prepared.plan.jobs for case in job.cases}
    return find_power(change, noises, len(cases))


def _print_as_json(prepared: "Prepared", commands: "Commands", power: "Power | None") -> None:
    plan, listed = prepared.plan, prepared.resolved.listed
    print_json(
        {
            "suite": plan.suite.name,
            "seed": plan.seed,
            "launches": plan.launches,
            "rows": plan.cases(),
            "hosts": {
                "source": listed.source,
                "form": listed.form,
                "names": listed.names,
                "counts": listed.counts,
                "passed_over": listed.passed_over,
            },
            "launches_to_see": power,
            "notes": prepared.resolved.notes,
            "jobs": [
                {"job": job, "placement": prepared.launcher.place(job.ranks), "command": command}
                for job, command in commands
            ],
        }
    )


def _print_placement(ranks: int, placement: "Placement") -> None:
    """Print a line for each host; hosts in a row with equally many ranks share one."""
    print(f"\nplacement of {ranks} rank{'s' * (ranks > 1)}")
    first = at = 0
    for count, same in groupby(placement.counts):
        nodes = len(list(same))
        names = placement.hosts[at : at + nodes]
        where = fold_in_order(names) if names else f"{nodes} node{'s' * (nodes > 1)}"
        each = f"{count} rank{'s' * (count > 1)}{' each' * (nodes > 1)}"
        last = first + nodes * count - 1
        print(f"  {where}: {each} ({first if first == last else f'{first}-{last}'})")
        first, at = last + 1, at + nodes


def _print(prepared: "Prepared", commands: "Commands", power: "Power | None") -> None:
    plan = prepared.plan
    print(
        f"suite {plan.suite.name}, seed {plan.seed}, "
        f"{plan.launches} launches, {len(commands)} jobs, {plan.cases()} cases over all launches"
    )
    if power is not None:
        from bench.judge.compare.power import power_text

        print(power_text(power))
    listed = prepared.resolved.listed
    told = listed.told()
    counted = [f"  {line}" for line in listed.lines()]
    for line in (*told[:1], *counted, *told[1:], *prepared.resolved.notes):
        print(line)
    for ranks in dict.fromkeys(job.ranks for job, _ in commands):
        placement = prepared.launcher.place(ranks)
        if placement is not None and (listed.names or placement.nodes > 1):
            _print_placement(ranks, placement)
    for job, command in commands:
        env = [f"{name}={value}" for name, value in command.env.items()]
        print(f"\njob {job.id}: {len(job.cases)} cases")
        print(f"  {shlex.join([*env, *command.tokens])}")
        for path, text in command.files.items():
            print(f"  {shlex.quote(path)}: {', '.join(text.splitlines())}")
        for case in job.cases:
            print(f"    {case.id}")
