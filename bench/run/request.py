"""What `plan` and `run` are asked for, and which of it a launcher heeds."""

import os
from pathlib import Path
from typing import Any

import msgspec

from bench.core.errors import RequestError
from bench.core.hostnames import parse_hosts, read_hostfile
from bench.launch import SCHEDULED, SUBMITTED
from bench.launch.site import SITE_VARIABLE
from bench.store.folder import RunMeta


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

    def host_names(self) -> tuple[str, ...]:
        """Return the hosts that were asked for, none where ranks run here.

        Raises:
            RequestError: where a name is no host name, or both ways of naming them were used.
        """
        if self.hosts is not None and self.hostfile is not None:
            raise RequestError("--hosts and --hostfile both name the hosts; leave one of them out")
        if self.hostfile is not None:
            return read_hostfile(self.hostfile)
        return () if self.hosts is None else parse_hosts(self.hosts)

    def flags(self) -> dict[str, str | int | bool | None]:
        """Return the flags that differ from their defaults, for `run.json`."""
        default = Request(suite=self.suite)
        given = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(default, name)
        }
        return {name: v if isinstance(v, int) else str(v) for name, v in given.items()}


def make_request(asked: dict[str, Any]) -> Request:
    """Return the request of a command line.

    A run is resumed from anywhere, so paths are made absolute; the site file of the environment
    is one that was asked for, where the launcher heeds one.
    """
    request = Request(**asked)
    site = request.site
    if site is None and request.launcher in SCHEDULED and os.environ.get(SITE_VARIABLE):
        site = Path(os.environ[SITE_VARIABLE])
    return msgspec.structs.replace(
        request,
        site=site and site.absolute(),
        work=request.work and request.work.absolute(),
    )


def refuse_unused(request: Request) -> None:
    """Refuse a flag that the launcher would not heed: the run would not be what was asked for."""
    scheduled = tuple(SCHEDULED)
    for flag, value, launchers in (
        ("--replay", request.replay, ("replay",)),
        ("--mpirun", request.mpirun, ("mpirun", "pbs")),
        ("--hosts", request.hosts, ("mpirun", *scheduled)),
        ("--hostfile", request.hostfile, ("mpirun", *scheduled)),
        ("--nodes", request.nodes, scheduled),
        ("--site", request.site, scheduled),
        ("--container", request.container, scheduled),
        ("--work", request.work, SUBMITTED),
    ):
        if value is not None and request.launcher not in launchers:
            raise RequestError(
                f"{flag} is heeded by --launcher {' or '.join(launchers)} only; "
                "leave one of them out"
            )
    if request.nodes is not None and request.host_names():
        raise RequestError("--nodes counts nodes and --hosts names them; leave one of them out")


def stored_request(meta: RunMeta) -> Request:
    """Return the request that a run was started with, as far as its launcher goes."""
    told = {name: str(value) for name, value in meta.flags.items() if value is not None}
    return Request(
        suite=meta.suite_name,
        launcher=meta.launcher,
        mpirun=told.get("mpirun"),
        hosts=told.get("hosts"),
        hostfile=Path(told["hostfile"]) if "hostfile" in told else None,
        bind=told.get("bind", "auto"),
        nodes=int(told["nodes"]) if "nodes" in told else None,
        site=Path(told["site"]) if "site" in told else None,
        container=told.get("container"),
        work=Path(told["work"]) if "work" in told else None,
    )
