"""From a request to what it means here: launcher, MPI, site, machine and hosts, worked out once."""

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import __version__
from bench.contracts import Launcher
from bench.core.errors import LaunchError, RequestError, nearest, printable
from bench.core.hostlists.hosts import Entry, HostList, add_up
from bench.launch import LauncherKind, Opening, find_launcher
from bench.launch.batch.granted import find_granted
from bench.launch.here import is_here
from bench.launch.mpirun import refuse_same_names
from bench.launch.site import Site, check_line, load_site
from bench.launch.ssh import Host, examine_hosts
from bench.machine.cpu import count_rank_cores, is_masked
from bench.machine.description import read_description
from bench.machine.mpi import MpiInstall, find_mpi, probe_library
from bench.run.request import Request, refuse_unheeded


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A request with every question answered that can be before a job runs."""

    request: Request
    kind: LauncherKind
    mpi: MpiInstall | None
    """Of the ranks; None without MPI, and where none was found."""
    site: Site
    listed: HostList
    """Where ranks run, as somebody named it, or a batch system did."""
    hosts: tuple[Host, ...]
    """The same with what the hosts have answered; none where ranks run here, or a scheduler
    chooses."""
    notes: tuple[str, ...] = ()
    """What else a person should know before the request is carried out."""
    machine_text: str | None
    """The machine file, checked."""

    def open(self, run: Path | None = None, name: str = "RUN") -> Launcher:
        """Return the launcher.

        Args:
            run: the folder of the run; before it begins there is none, and it is called RUN.
            name: of the run, for its folder below `--work`.

        Raises:
            RequestError: where an option is missing or wrong.
            LaunchError: where there is no MPI.
        """
        return self.kind.open(
            Opening(
                mpi=self.mpi,
                cores=count_rank_cores(),
                masked=is_masked(),
                hosts=self.listed.names,
                counts=self.listed.counts,
                host_cores={h.asked: h.cores for h in self.hosts if h.cores is not None},
                nodes=self.request.nodes,
                bind=self.request.bind,
                site=self.site,
                run=run.absolute() if run else Path("RUN"),
                folder=self._batch_folder(run, name),
                replay=self.request.replay,
            )
        )

    def on(self, hosts: Sequence[str]) -> "Resolved":
        """Return the same on some of its hosts; on all where none is named.

        Raises:
            RequestError: where one is none of them.
        """
        if not hosts:
            return self
        by_name = {host.asked: host for host in self.hosts}
        for name in hosts:
            if name not in by_name:
                raise RequestError(
                    f"{printable(name)} is none of the hosts; {nearest(name, by_name)}"
                )
        slots = self.listed.slots()
        counts = tuple(slots.get(name) for name in hosts) if self.listed.counts else ()
        return msgspec.structs.replace(
            self,
            listed=msgspec.structs.replace(self.listed, names=tuple(hosts), counts=counts),
            hosts=tuple(by_name[name] for name in hosts),
        )

    def name_here(self) -> str | None:
        """Return the name of this machine in the run; None where no rank runs here, or who knows.

        Of two hosts that call themselves as this one does, either may be it.
        """
        hostname = socket.gethostname()
        if not self.hosts:
            return None if self.kind.program else hostname
        here = [host.asked for host in self.hosts if is_here(host.asked)]
        same = [host.asked for host in self.hosts if host.hostname == hostname]
        found = here or same
        return found[0] if len(found) == 1 else None

    def told(self) -> tuple[str, ...]:
        """Return what a person should know who has not just typed it."""
        odd = self.listed.form or self.listed.passed_over or self.listed.granted
        return (*(self.listed.told() if odd else ()), *self.notes)

    def _batch_folder(self, run: Path | None, name: str) -> Path:
        work = self.request.work
        if work is not None:
            folder = work / name
        else:
            folder = run.absolute() / "batch" if run else Path("RUN/batch")
        if self.kind.shares_folder:
            check_line(str(folder), "the folder of batch jobs")
        return folder


def resolve(request: Request, hosts: HostList | None = None) -> Resolved:
    """Work out what a request means here; nothing is started, no host is asked.

    Args:
        request: as it was typed, or stored.
        hosts: of a run that is resumed, instead of those that a file names now.

    Raises:
        RequestError: where a flag is wrong, or not heeded by the launcher.
        LaunchError: where the launcher's MPI is missing.
    """
    refuse_unheeded(request)
    kind = find_launcher(request.launcher)
    notes: list[str] = []
    listed = _choose_hosts(request, kind, notes) if hosts is None else hosts
    if kind.program is None:
        listed = _join_own_names(listed)
    if listed.counts and not kind.keeps_counts:
        listed = listed.without_counts(f"--launcher {request.launcher} spreads ranks evenly")
    return Resolved(
        request=request,
        kind=kind,
        mpi=_choose_mpi(request, kind),
        site=load_site(request.site, request.container),
        listed=listed,
        hosts=tuple(Host(asked=name) for name in listed.names),
        notes=tuple(notes),
        machine_text=None if request.machine is None else read_description(request.machine),
    )


def _choose_hosts(request: Request, kind: LauncherKind, notes: list[str]) -> HostList:
    """Return the hosts that somebody named, or else those of the batch job that this is part of."""
    listed = request.host_list()
    if listed.names or "hosts" not in kind.flags or kind.program is not None:
        return listed
    return find_granted(os.environ, notes.append) or listed


def _join_own_names(listed: HostList) -> HostList:
    """Return a list in which this machine stands once, under the first of its names."""
    here = [name for name in listed.names if is_here(name)]
    if len(here) < 2:
        return listed
    slots = listed.slots()
    entries = [Entry(here[0] if n in here else n, slots.get(n)) for n in listed.names]
    names, counts = add_up(entries, listed.source)
    why = f"{', '.join(here[1:])}: this machine by another name than {here[0]}"
    return msgspec.structs.replace(
        listed,
        names=names,
        counts=counts if listed.counts else (),
        passed_over=(*listed.passed_over, why),
    )


def check_room(resolved: Resolved, most: int) -> Resolved:
    """Refuse jobs with more ranks than the counts of the hosts allow.

    What a batch system counts is the tasks that it was asked for and may be fewer than a node can
    take: that is said, and not refused.

    Args:
        resolved: with its list of hosts.
        most: ranks of the largest job.

    Raises:
        RequestError: where somebody has counted and they do not suffice.
    """
    listed = resolved.listed
    if listed.room is None or most <= listed.room:
        return resolved
    if not listed.granted:
        raise RequestError(
            f"{listed.source}: its counts allow {listed.room} ranks, and a job has {most}; count "
            "more, add hosts, or ask for fewer ranks with -n"
        )
    note = f"passed over: counts, in jobs of over {listed.room} ranks: {listed.source} has no more"
    return msgspec.structs.replace(resolved, notes=(*resolved.notes, note))


def ask_for_fitness(resolved: Resolved) -> Resolved:
    """Ask every host whether it can take part, before any job is started.

    Nodes that a scheduler grants need not let anybody in over SSH.

    Raises:
        LaunchError: where one cannot, or the scheduler is not here; each is named on standard
            error.
    """
    program = resolved.kind.program
    if program is not None:
        if shutil.which(program) is None:
            raise LaunchError(f"{program} was not found; start this where its scheduler is at hand")
        return resolved
    if not resolved.hosts:
        return resolved
    fit, unfit = examine_hosts([host.asked for host in resolved.hosts], __version__)
    for line in unfit:
        print(line, file=sys.stderr)
    if unfit:
        raise LaunchError(
            f"{len(unfit)} of {len(resolved.hosts)} hosts cannot take part; {_advise(resolved)}"
        )
    if resolved.mpi is not None:
        refuse_same_names(resolved.mpi, fit)
    return msgspec.structs.replace(resolved, hosts=tuple(fit))


def _advise(resolved: Resolved) -> str:
    if not resolved.listed.granted:
        return "mend them or leave them out"
    return (
        f"they are from {resolved.listed.source}, and nobody has named them: name those to run on, "
        "as --hosts localhost, or take --launcher srun in Slurm"
    )


def _choose_mpi(request: Request, kind: LauncherKind) -> MpiInstall | None:
    """Return the MPI of the ranks: that of an mpirun, or that of mpi4py alone."""
    if kind.mpi == "library":
        return _library_under(kind.program or request.launcher)
    mpi = find_mpi(request.mpirun) if kind.mpi == "launcher" else None
    if mpi is not None and mpi.agrees is False:
        raise LaunchError(
            f"{mpi.mpirun} is {mpi.name}, but mpi4py loads {mpi.library}: every rank would think "
            "that it is alone; give the launcher of that library with --mpirun, or install one "
            "MPI only"
        )
    return mpi


def _library_under(launcher: str) -> MpiInstall:
    """Return the library that mpi4py loads, with a launcher that works with any."""
    library = probe_library()
    release = library.release
    if release is None:
        why = library.error or f"it loads {library.text}, which is none that is known here"
        raise LaunchError(f"mpi4py gives no MPI library: {why}; see `clusterbench doctor`")
    return MpiInstall(
        family=release.family,
        name=release.name,
        version=release.version,
        mpirun=launcher,
        library=library.text,
        library_path=library.path,
        handle_bytes=library.handle_bytes,
        mpi4py=library.mpi4py,
        agrees=True,
    )
