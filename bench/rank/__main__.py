"""The program that every rank executes: `python -m bench.rank [--solo] [--job FILE]`.

The job is the first line of rank 0's standard input. That input stays open as long as the runner
lives: its end means that nobody waits for results any more, and ends the job. A batch job has no
such input: rank 0 reads the job from a file, which whoever submitted it removes to end it.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from bench import __version__
from bench.core.errors import printable
from bench.core.events import (
    PROTOCOL,
    Alive,
    CaseStarted,
    Event,
    Facts,
    Failure,
    Hello,
    RankFacts,
    encode,
)
from bench.core.gpu_cases import job_opens_gpu
from bench.core.records import Job
from bench.machine.near_gpu import move_near
from bench.rank.early_gpu import EarlyGpu, check_number, find_local_rank, open_before_mpi
from bench.rank.gpu_queues import ask_for_queues
from bench.rank.host_names import name_nodes, read_own_names
from bench.rank.lease import FileLease
from bench.rank.world import MpiWorld, SoloWorld, World

if TYPE_CHECKING:
    from bench.machine.direct_path import PathFacts
    from bench.machine.gpu import GpuFacts

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
EXIT_FAILED = 3
ALIVE_S = 5.0
"""Between two signs of life of a case; well below the least deadline."""
_PR_SET_PDEATHSIG = 1
_BY_LINES = 1
"""_IOLBF of the C library."""


def main(arguments: list[str]) -> None:
    """Run the job; any exception on any rank is reported and ends them all."""
    events = _take_standard_output()
    _die_with_parent()
    ask_for_queues(os.environ)
    solo = "--solo" in arguments
    opened = None
    if "--gpu" in arguments:
        opened = open_before_mpi((0, "--solo") if solo else find_local_rank(os.environ))
    if opened is not None:
        # MPI looks at its CPUs too as it chooses network cards.
        move_near(opened.pci_address)
    world: World = SoloWorld() if solo else MpiWorld()
    reporter = _Reporter(events if world.rank == 0 else None)
    at = _Whereabouts(socket.gethostname())
    try:
        _run(world, reporter, at, _job_file(arguments), opened)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other ranks must not hang
        traceback.print_exc()
        reason = printable(f"{type(error).__name__}: {error}", 500)
        failure = Failure(world.rank, at.host, at.case, reason)
        # Only rank 0's output is read as events; another rank's goes to the log.
        sys.stderr.write(f"rank {failure.rank} on {failure.host}: {reason}\n")
        sys.stderr.flush()
        reporter.send(failure)
        world.abort(EXIT_FAILED)


class _Whereabouts:
    """Where this rank is: its host, and the case that it measures."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.case: str | None = None


class _Reporter:
    """Writes events to the runner on rank 0, and nothing elsewhere."""

    def __init__(self, out: BinaryIO | None) -> None:
        self._out = out
        self._sent_s = time.monotonic()

    def send(self, event: Event) -> None:
        if self._out is not None:
            self._out.write(encode(event))
            self._out.flush()
            self._sent_s = time.monotonic()

    def alive(self, case: str | None) -> None:
        """Send a sign that a case goes on, now and then."""
        if case is not None and time.monotonic() - self._sent_s > ALIVE_S:
            self.send(Alive(case))


def _job_file(arguments: list[str]) -> Path | None:
    return Path(arguments[arguments.index("--job") + 1]) if "--job" in arguments else None


def _run(
    world: World,
    reporter: _Reporter,
    at: _Whereabouts,
    job_file: Path | None,
    opened: EarlyGpu | None,
) -> None:
    document = _read_job(job_file) if world.rank == 0 else None
    job = msgspec.convert(world.broadcast(document), Job)
    reporter.send(Hello(job.id, PROTOCOL, __version__, world.size))
    if world.size != job.ranks:
        raise RuntimeError(
            f"{job.ranks} ranks were asked for, but MPI sees {world.size}: the launcher and the "
            "MPI library that mpi4py loads are not of the same MPI"
        )
    own = world.gather(read_own_names())
    names = name_nodes(world.nodes, own, job.hosts, job.host_ranks)
    at.host = names[world.nodes[world.rank]]
    threads = _set_threads(job.threads, world)
    # NumPy and its BLAS start here, after their threads are set.
    from bench.rank.context import Gpus, local_rank, open_context
    from bench.rank.job import execute_job

    lease = FileLease(job_file if world.rank == 0 else None)

    def alive() -> None:
        lease.check()
        reporter.alive(at.case)

    gpus = Gpus.NONE
    if job_opens_gpu(job):
        gpus = Gpus.OPEN if opened is None else Gpus.EARLY
        if opened is not None:
            check_number(opened, local_rank(world))
    context = open_context(world, threads, alive, job.died_in, host=at.host, gpus=gpus)
    # A collector run inside a sample is not the network, and one between cases takes 40 ms.
    gc.collect()
    gc.freeze()
    gc.disable()
    reporter.send(_gather_facts(world, context.message_loops, job, names))
    for event in execute_job(job, world, context):
        lease.check()
        if isinstance(event, CaseStarted):
            at.case = event.case
        reporter.send(event)


def _read_job(job_file: Path | None) -> object:
    if job_file is not None:
        return msgspec.json.decode(job_file.read_bytes())
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    return msgspec.json.decode(line)


def _exit_at_end_of_input() -> None:
    """Block in a read, which costs the measurement nothing, until the runner is gone."""
    # Not through sys.stdin: a thread that holds its lock makes Python abort as it ends.
    while os.read(0, 4096):
        pass
    os._exit(EXIT_FAILED)


def _take_standard_output() -> BinaryIO:
    """Keep standard output for events; what else is printed there goes to standard error.

    Line by line: half a line of NCCL, torn off by another rank's, may name another path.
    """
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    library = ctypes.CDLL(None)
    library.setvbuf(ctypes.c_void_p.in_dll(library, "stdout"), None, _BY_LINES, 0)
    return events


def _die_with_parent() -> None:
    """Ask Linux to kill this rank when the process that started it dies, however it dies."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)


def _set_threads(threads: int, world: World) -> int:
    from bench.machine.cpu import read_quota, usable_cores

    own = os.sched_getaffinity(0)
    here = world.nodes[world.rank]
    # Ranks near GPUs of two NUMA nodes share no cores.
    masks = zip(world.nodes, world.gather(own), strict=True)
    sharers = sum(node == here and not own.isdisjoint(mask) for node, mask in masks)
    share = len(usable_cores()) / sharers
    quota = read_quota(Path("/"))
    if quota is not None:
        share = min(share, int(quota) / world.local_size)
    chosen = threads or max(1, int(share))
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(chosen)
    return chosen


def _gather_facts(world: World, loops: object, job: Job, names: Sequence[str]) -> Facts:
    from bench.machine.cpu import usable_cores
    from bench.machine.facts import gather_facts
    from bench.machine.interfaces import find_shared, read_network
    from bench.measure.payload import is_in_question
    from bench.rank.transport import observe_transports

    node = world.nodes[world.rank]
    here = RankFacts(
        host=names[node],
        pid=os.getpid(),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        node=node,
        hostname=socket.gethostname(),
        physical_cores=usable_cores(),
    )
    ranks = world.gather(here)
    transports = observe_transports(world, job, names)
    facts = gather_facts() if world.nodes.index(node) == world.rank else None
    paths = None
    if facts is not None and any(is_in_question(job, case) for case in job.cases):
        paths = _gather_paths(facts.gpus)
    by_rank = world.gather(
        None
        if facts is None
        else (msgspec.to_builtins(facts), msgspec.to_builtins(paths), read_network())
    )
    nodes = {ranks[r].host: facts for r, facts in enumerate(by_rank) if facts is not None}
    return Facts(
        ranks=tuple(ranks),
        mpi_library=world.library,
        thread_level=world.thread_level,
        message_layer=getattr(loops, "name", None),
        overhead_s=getattr(loops, "overhead_s", None),
        nodes={host: facts for host, (facts, _, _) in nodes.items()},
        paths={host: paths for host, (_, paths, _) in nodes.items() if paths is not None},
        # Of all their addresses only these tell anything, and go into the journal.
        shared=find_shared({host: network for host, (_, _, network) in nodes.items()}),
        transports=transports,
    )


def _gather_paths(gpus: "tuple[GpuFacts, ...]") -> "PathFacts":
    from bench.machine.direct_path import gather_paths
    from bench.rank.timing.layers import loaded_library

    library = None
    with contextlib.suppress(OSError):  # there is none without MPI
        library = loaded_library()
    return gather_paths(gpus=gpus, library=library)


if __name__ == "__main__":
    main(sys.argv[1:])
