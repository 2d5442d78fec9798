"""`mpirun` of Open MPI (4 and 5) and of MPICH's Hydra, on this machine or on hosts over SSH."""

import os
import socket
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from bench.contracts import LaunchCommand
from bench.core.errors import LaunchError, RequestError
from bench.core.hostnames import fold_hosts
from bench.core.placement import Placement, place_ranks
from bench.core.program import module_command
from bench.core.records import Job
from bench.launch.binding import choose_binding, rank_options
from bench.launch.here import is_here
from bench.launch.kind import LauncherKind
from bench.launch.ssh import Host
from bench.machine.mpi import MpiInstall
from bench.machine.settings import set_in_files
from bench.machine.software import steering_variables

FORWARDED_ALREADY = ("OMPI_", "PMIX_", "PRTE_")
"""What Open MPI hands on by itself (its manual, "Exported Environment Variables")."""


HOSTFILES = "hostfiles"
"""Folder in that of a run, for host files of its jobs."""


_JOB_NUMBERS = ("SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE")
"""Variables by which Open MPI knows that it is within a batch job."""


class MpirunLauncher:
    """Starts ranks with the MPI that was found.

    Args:
        mpi: the MPI.
        cores: cores of this machine that ranks may use; more ranks than that share cores.
        hosts: where ranks run, in blocks; this machine where there are none.
        bind: `core`, `none`, or `auto` for a core each where that can be.
        host_cores: cores that ranks may use on each of the hosts, as far as that is known.
        masked: whether this process may run on fewer cores than its cpuset has, which a binding
            would not heed.
        counts: the most ranks of each host; evenly many where there are none.
        run: the folder of the run, for host files.

    Raises:
        RequestError: where a host is an IPv6 address, and the MPI has no way to be given one.
    """

    name = "mpirun"
    most_ranks: int | None = None
    reaches_hosts = True

    def __init__(
        self,
        mpi: MpiInstall,
        cores: int,
        hosts: tuple[str, ...] = (),
        bind: str = "auto",
        host_cores: Mapping[str, int] | None = None,
        masked: bool = False,
        counts: tuple[int | None, ...] = (),
        run: Path = Path("RUN"),
    ) -> None:
        self._mpi = mpi
        self._hosts = hosts
        # A launcher that is given a name of its own machine may look for it elsewhere; without
        # any it takes all nodes of a batch job.
        self._remote = bool(hosts) and (
            len(hosts) > 1 or _in_batch_job() or not all(map(is_here, hosts))
        )
        if self._remote and mpi.family != "openmpi":
            _refuse_addresses(hosts)
        here = hosts[0] if hosts else socket.gethostname()
        self._cores = dict(host_cores or {}) if self._remote else {here: cores}
        self._counts = counts
        self._bind = bind
        self._masked = masked and not self._remote
        self._in_files = set_in_files(os.environ)
        self._run = run

    @property
    def nodes(self) -> int:
        """Return how many hosts ranks are spread over."""
        return len(self._hosts) or 1

    def place(self, ranks: int) -> Placement:
        """Return the ranks on each host: the first ones together, the last one on the last host."""
        return place_ranks(ranks, self._hosts or (socket.gethostname(),), self._counts)

    def command(self, job: Job) -> LaunchCommand:
        """Return the mpirun command of a job."""
        blocks = self.place(job.ranks).blocks()
        crowded = any(count > self._cores.get(host, count) for host, count in blocks.items())
        bind = choose_binding(job, self._bind, crowded or self._masked)
        remote = blocks if self._remote else {}
        files: dict[str, str] = {}
        if self._mpi.family == "openmpi":
            if any(":" in host for host in remote):
                files[str(self._run / HOSTFILES / f"{job.ranks}-ranks")] = _hostfile(remote)
            named = _name_hosts(remote, next(iter(files), None))
            chosen = self._in_files.union(os.environ, job.env)
            options = _open_mpi_options(self._mpi, bind, crowded, named, job.env, chosen)
        else:
            options = _hydra_options(bind, remote)
        tokens = (self._mpi.mpirun, "-n", str(job.ranks), *options)
        command = (*tokens, *module_command("bench.rank"), *rank_options(job))
        return LaunchCommand(command, _home() | job.env, files)


def _in_batch_job() -> bool:
    return any(map(os.environ.get, _JOB_NUMBERS))


def _refuse_addresses(hosts: Sequence[str]) -> None:
    for host in hosts:
        # Hydra cuts at the first colon, inside brackets and in host files too (MPICH 5.0.2).
        if ":" in host:
            raise RequestError(
                f"MPICH's mpirun takes no IPv6 address, and {host} is one; give the host a name in "
                "/etc/hosts or in the configuration of ssh, and use that, or use Open MPI"
            )


def _name_hosts(blocks: Mapping[str, int], file: str | None) -> list[str]:
    """Return the options of Open MPI that name hosts.

    `--host` cuts at the first colon, inside brackets too (5.0.11); a host file has addresses bare.
    """
    if file is not None:
        return ["--hostfile", file]
    hosts = ",".join(f"{host}:{count}" for host, count in blocks.items())
    return ["--host", hosts] if hosts else []


def _hostfile(blocks: Mapping[str, int]) -> str:
    return "".join(f"{host} slots={count}\n" for host, count in blocks.items())


def refuse_same_names(mpi: MpiInstall, hosts: Sequence[Host]) -> None:
    """Refuse hosts that call themselves the same, where the MPI takes them for one.

    Each daemon of Open MPI looks for its own node by that name, without its domain, in a list of
    all nodes: two would find the same one, and their ranks never meet (5.0.11: `MPI_ERR_TRUNCATE`,
    or a job that hangs). Hydra counts nodes by the names they were asked for.

    Raises:
        LaunchError: where there are such hosts.
    """
    if mpi.family != "openmpi":
        return
    by_name: dict[str, list[str]] = {}
    for host in hosts:
        if host.hostname is not None:
            by_name.setdefault(host.hostname.partition(".")[0], []).append(host.asked)
    same = {name: asked for name, asked in by_name.items() if len(asked) > 1}
    if same:
        found = "; ".join(f"{fold_hosts(asked)} as {name!r}" for name, asked in same.items())
        raise LaunchError(
            f"hosts that know themselves by one name: {found}; Open MPI would take them for one "
            "host: give each a name of its own (hostnamectl set-hostname), name a host once only, "
            "or use MPICH"
        )


def _open_mpi_options(
    mpi: MpiInstall,
    bind: str,
    crowded: bool,
    named: Sequence[str],
    variables: Mapping[str, str],
    chosen: Container[str],
) -> list[str]:
    """Return the options of mpirun; what somebody has `chosen` is not set again."""
    options = ["--bind-to", bind]
    if crowded and "OMPI_MCA_mpi_yield_when_idle" not in chosen:
        # Else a rank that waits keeps the core for its whole slice of time, some milliseconds:
        # Open MPI knows by itself only of more ranks than slots, and counts as slots what neither
        # an affinity mask nor a quota grants.
        options += ["--mca", "mpi_yield_when_idle", "1"]
    # Open MPI counts cores as slots and refuses more ranks. With hosts their slots are given, but
    # within a batch job it takes no more of them than the job was asked for.
    oversubscribe = crowded
    if named:
        oversubscribe = _in_batch_job()
        options += named
        # Only ranks of this machine inherit its environment; Hydra hands it on by itself.
        options += [token for name in exported(variables) for token in ("-x", name)]
    else:
        if "OMPI_MCA_btl" not in chosen:
            # Between ranks of one node neither is used, and opening them costs a second at the
            # start of a job and another at its end (5.0.11).
            options += ["--mca", "btl", "^ofi,uct"]
    if oversubscribe:
        # 5 has moved the flag into map-by.
        options += ["--oversubscribe"] if mpi.version[0] < 5 else ["--map-by", ":OVERSUBSCRIBE"]
    if os.geteuid() == 0:
        options.append("--allow-run-as-root")
    return options


def exported(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that `-x` names, for Open MPI to hand to ranks on other hosts.

    Args:
        variables: of the job, beside those of this environment that steer what is measured.
    """
    names = {**steering_variables(os.environ), **variables}
    return sorted(name for name in names if not name.startswith(FORWARDED_ALREADY))


def _hydra_options(bind: str, blocks: dict[str, int]) -> list[str]:
    if not blocks:
        return ["-bind-to", bind]
    hosts = ",".join(f"{host}:{count}" for host, count in blocks.items())
    return ["-bind-to", bind, "-launcher", "ssh", "-hosts", hosts]


def _home() -> dict[str, str]:
    """Open MPI dies without HOME: give it the folder where it would put its session anyway."""
    return {} if os.environ.get("HOME") else {"HOME": "/tmp"}  # noqa: S108


KIND = LauncherKind(
    text="Open MPI's mpirun or MPICH's Hydra, here or on --hosts over SSH (the default)",
    open=lambda o: MpirunLauncher(
        o.need_mpi(), o.cores, o.hosts, o.bind, o.host_cores, o.masked, o.counts, o.run
    ),
    flags=frozenset({"mpirun", "hosts", "hostfile"}),
    mpi="launcher",
    keeps_counts=True,
)
