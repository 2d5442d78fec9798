"""Begins the folder of a run of a test's own, as the runner begins one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.core.records import Finding, Job, Origin
from bench.plan.plan import Plan
from bench.store.begin import begin_run
from bench.store.files import LOGS_FOLDER
from bench.store.folder import RunFolder
from bench.store.meta import Measured, RunMeta
from bench.store.nodes import Nodes
from bench.store.parts import Command, Parts

STARTED = "2026-11-20T09:00:00.000000Z"


def begun(
    folder: Path,
    jobs: Iterable[Job] = (),
    *,
    name: str = "mine",
    suite_text: str = "",
    machine_text: str | None = None,
    origin: Origin = Origin.MEASURED,
    launcher: str = "local",
    flags: dict[str, Any] | None = None,
    mpi: dict[str, str | None] | None = None,
    seed: int = 0,
    launches: int = 1,
    started_utc: str = STARTED,
    finished_utc: str | None = None,
    outcome: str | None = None,
    nodes: Nodes | None = None,
    commands: Iterable[Command] = (),
    findings: Iterable[Finding] = (),
) -> RunFolder:
    """Return a run that has these jobs to do, and nothing measured."""
    (folder / LOGS_FOLDER).mkdir(parents=True, exist_ok=True)
    made = Measured(
        flags=flags or {}, seed=seed, launches=launches, launcher=launcher, mpi=mpi or {}
    )
    meta = RunMeta(
        run=folder.name,
        origin=origin,
        version="0",
        suite_name=name,
        started_utc=started_utc,
        finished_utc=finished_utc,
        outcome=outcome,
        made=made,
    )
    parts = Parts(
        suite_text=suite_text,
        machine_text=machine_text,
        plan=tuple(jobs),
        nodes=nodes or Nodes(),
        commands=list(commands),
        findings=list(findings),
    )
    return begin_run(folder, meta, parts)


def begun_plan(folder: Path, plan: Plan, **more: Any) -> RunFolder:
    """Return a run that has this plan to do."""
    of_plan = {"name": plan.suite.name, "suite_text": plan.suite.text, "seed": plan.seed}
    return begun(folder, plan.jobs, launches=plan.launches, **{**of_plan, **more})
