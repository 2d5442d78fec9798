"""What `plan` and `run` are asked for, as it was typed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.core.errors import RequestError
from bench.core.hostlists.hostfile import read_hostfile
from bench.core.hostlists.hosts import HostList
from bench.core.hostlists.typed import read_typed
from bench.launch import LAUNCHERS, find_launcher
from bench.launch.site import SITE_VARIABLE
from bench.plan.plan import Plan, make_plan, set_variables
from bench.plan.suite import Suite, fill_nodes, override_ranks, parse_budget
from bench.store.meta import RunMeta

VARIABLE = "env."
"""Begins the flag by which a variable is kept with a run."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `plan` and `run` are asked for."""

    suite: str
    ranks: int | None = None
    launcher: str = "mpirun"
    mpirun: str | None = None
    hosts: str | None = None
    hostfile: Path | None = None
    bind: str = "auto"
    nodes: int | None = None
    site: Path | None = None
    container: str | None = None
    work: Path | None = None
    launches: int | None = None
    seed: int | None = None
    replay: Path | None = None
    machine: Path | None = None
    label: str | None = None
    budget: str | None = None
    variables: dict[str, str] = {}
    """For the environment of every rank."""

    def budget_s(self) -> float | None:
        """Return the seconds that were asked for, None where none were.

        Raises:
            RequestError: where it is no time.
        """
        return None if self.budget is None else parse_budget(self.budget, "--budget")

    def host_list(self) -> HostList:
        """Return the hosts that were asked for, none where nobody named any; a file is read anew.

        Raises:
            RequestError: where a name is no host name, or both ways of naming them were used.
        """
        if self.hosts is not None and self.hostfile is not None:
            raise RequestError("--hosts and --hostfile both name the hosts; leave one of them out")
        if self.hostfile is not None:
            return read_hostfile(self.hostfile)
        return HostList() if self.hosts is None else read_typed(self.hosts)

    def flags(self) -> dict[str, str | int | bool | None]:
        """Return the flags that differ from their defaults, for `run.json`.

        A run is resumed from anywhere, so paths are absolute.
        """
        default = Request(suite=self.suite)
        given = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(default, name)
        }
        variables = {f"{VARIABLE}{k}": v for k, v in given.pop("variables", {}).items()}
        stored = {n: v if isinstance(v, int) else _stored(n, v) for n, v in given.items()}
        return stored | variables


def make_request(asked: dict[str, Any]) -> Request:
    """Return the request of a command line.

    The site file of the environment is one that was asked for, where the launcher heeds one.
    """
    request = Request(**asked)
    kind = LAUNCHERS.get(request.launcher)
    site = request.site
    if site is None and kind is not None and kind.program and os.environ.get(SITE_VARIABLE):
        site = Path(os.environ[SITE_VARIABLE])
    # The folder of batch jobs stands in their scripts.
    work = request.work and request.work.absolute()
    return msgspec.structs.replace(request, site=site and site.absolute(), work=work)


def _stored(name: str, value: str | Path) -> str:
    # A program without a slash is looked for, as a shell does.
    if isinstance(value, Path) or (name == "mpirun" and "/" in value):
        return str(Path(value).absolute())
    return value


def refuse_unheeded(request: Request) -> None:
    """Refuse a flag that the launcher would not heed: the run would not be what was asked for.

    Raises:
        RequestError: where there is one, or no such launcher.
    """
    heeded = find_launcher(request.launcher).flags
    for flag in sorted({flag for kind in LAUNCHERS.values() for flag in kind.flags}):
        if getattr(request, flag) is not None and flag not in heeded:
            others = [name for name, kind in LAUNCHERS.items() if flag in kind.flags]
            raise RequestError(
                f"--{flag} is heeded by --launcher {' or '.join(others)} only; "
                "leave one of them out"
            )
    if request.nodes is not None and (request.hosts or request.hostfile):
        raise RequestError("--nodes counts nodes and --hosts names them; leave one of them out")


def ask_ranks(request: Request, suite: Suite) -> Suite:
    """Return the suite with the ranks that were asked for, as it is where none were.

    Raises:
        SuiteError: where a benchmark of it cannot have so many.
    """
    return suite if request.ranks is None else override_ranks(suite, request.ranks)


def plan_request(request: Request, suite: Suite, nodes: int) -> Plan:
    """Return the plan of what was asked for.

    Args:
        request: whose launches, seed and variables it has.
        suite: with the ranks that were asked for.
        nodes: that ranks are spread over.

    Raises:
        SuiteError: where the suite cannot be planned.
    """
    plan = make_plan(fill_nodes(suite, nodes), request.launches, request.seed)
    return set_variables(plan, request.variables)


def split_flags(
    flags: Mapping[str, str | int | bool | None],
) -> tuple[dict[str, str | int | bool | None], dict[str, str]]:
    """Return the flags that were kept of a request, and its variables, which are kept with them."""
    variables = {
        name.removeprefix(VARIABLE): str(value)
        for name, value in flags.items()
        if name.startswith(VARIABLE) and value is not None
    }
    return {k: v for k, v in flags.items() if not k.startswith(VARIABLE)}, variables


def decode_path(kind: type, value: Any) -> Any:
    """Return the path of a text, for msgspec, which knows none."""
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"no reader of {kind}")


def stored_request(meta: RunMeta) -> Request:
    """Return the request that a run was started with, as far as its launcher goes."""
    measured = meta.measured
    flags, variables = split_flags(measured.flags)
    stored = {name: str(value) for name, value in flags.items() if value is not None}

    def path(name: str) -> Path | None:
        return Path(stored[name]) if name in stored else None

    return Request(
        suite=meta.suite_name,
        launcher=measured.launcher,
        mpirun=stored.get("mpirun"),
        hosts=stored.get("hosts"),
        hostfile=path("hostfile"),
        bind=stored.get("bind", "auto"),
        nodes=int(stored["nodes"]) if "nodes" in stored else None,
        site=path("site"),
        container=stored.get("container"),
        work=path("work"),
        budget=stored.get("budget"),
        variables=variables,
    )
