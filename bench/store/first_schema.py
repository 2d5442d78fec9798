"""Runs of schema 1, whose `run.json` held all that stands in files of its own since schema 2."""

from typing import Any

import msgspec

from bench.core.records import Finding, Job, Origin
from bench.store.meta import Measured, RunMeta
from bench.store.nodes import Nodes
from bench.store.parts import Command, Parts


class _Old(msgspec.Struct, kw_only=True):
    """`run.json` of schema 1."""

    run: str
    origin: Origin
    version: str
    suite_name: str
    suite_text: str
    machine_text: str | None = None
    flags: dict[str, str | int | bool | None]
    seed: int
    launches: int
    launcher: str
    plan: tuple[Job, ...]
    mpi: dict[str, str | None]
    started_utc: str
    finished_utc: str | None = None
    outcome: str | None = None
    hosts: dict[str, str | None] = {}
    commands: list[Command] = []
    facts: dict[str, dict[str, Any]] = {}
    nodes: dict[str, str] = {}
    paths: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []


def split(text: bytes) -> tuple[RunMeta, Parts]:
    """Return what a `run.json` of schema 1 says, as the files of schema 2 hold it.

    Its hashes are left out: they were made before the page was, and not made again by `resume`.

    Raises:
        msgspec.MsgspecError: where it is no such file.
    """
    old = msgspec.json.decode(text, type=_Old)
    made = Measured(
        flags=old.flags,
        seed=old.seed,
        launches=old.launches,
        launcher=old.launcher,
        mpi=old.mpi,
        hosts=old.hosts,
    )
    meta = RunMeta(
        schema=1,
        run=old.run,
        origin=old.origin,
        version=old.version,
        suite_name=old.suite_name,
        started_utc=old.started_utc,
        finished_utc=old.finished_utc,
        outcome=old.outcome,
        made=made,
    )
    parts = Parts(
        suite_text=old.suite_text,
        machine_text=old.machine_text,
        plan=old.plan,
        nodes=Nodes(hosts=old.nodes, facts=old.facts, paths=old.paths),
        commands=old.commands,
        findings=old.findings,
    )
    return meta, parts
