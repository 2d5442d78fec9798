"""`clusterbench plan`."""

import shlex
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import rich_click as click

from bench.cli.ending import Ending, print_json
from bench.cli.verb import Verb, json_option, request_options

if TYPE_CHECKING:
    from bench.contracts import LaunchCommand
    from bench.core.records import Job
    from bench.plan.plan import Plan

    Commands = Sequence[tuple[Job, LaunchCommand]]


@click.command(cls=Verb)
@click.argument("suite")
@request_options
@json_option
def plan(as_json: bool, **asked: Any) -> Ending:
    """Exactly what `run` with the same flags would start; nothing is started."""
    from bench.run.request import make_request
    from bench.run.session import prepare

    prepared = prepare(make_request(asked))
    commands = [(job, prepared.launcher.command(job)) for job in prepared.plan.jobs]
    return Ending(partial(_print_as_json if as_json else _print, prepared.plan, commands))


def _print_as_json(plan: "Plan", commands: "Commands") -> None:
    print_json(
        {
            "suite": plan.suite.name,
            "seed": plan.seed,
            "launches": plan.launches,
            "rows": plan.cases(),
            "jobs": [{"job": job, "command": command} for job, command in commands],
        }
    )


def _print(plan: "Plan", commands: "Commands") -> None:
    print(
        f"suite {plan.suite.name}, seed {plan.seed}, "
        f"{plan.launches} launches, {len(commands)} jobs, {plan.cases()} cases over all launches"
    )
    for job, command in commands:
        env = [f"{name}={value}" for name, value in command.env.items()]
        print(f"\njob {job.id}: {len(job.cases)} cases")
        print(f"  {shlex.join([*env, *command.tokens])}")
        for case in job.cases:
            print(f"    {case.id}")
