"""Opens what a rank hands its measurements: loops, kinds of memory, threads, the BLAS."""

import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.contracts import Context, FollowsSteps, GpuCalls, GpuSeat, TakesDevice
from bench.machine.aware import Maker, judge_stack, read_stack
from bench.machine.cpu import last_cache_bytes, read_quota, usable_cores
from bench.machine.memory import read_numa
from bench.machine.near_gpu import numa_of_cpus
from bench.machine.software import read_blas
from bench.machine.sysfs import parse_cpu_list
from bench.rank.gpu_seats import find_seats
from bench.rank.memory import LazyMemories, Locality
from bench.rank.memory.nccl import Nccl
from bench.rank.perftest import Perftest
from bench.rank.places import find_turns
from bench.rank.timing.gpu_library_loops import GpuLibraryLoops
from bench.rank.timing.layers import (
    loaded_library,
    open_copy_queue,
    open_memory_loops,
    open_message_loops,
)
from bench.rank.world import World


class Gpus(Enum):
    """Whether the ranks of a job open GPUs."""

    NONE = auto()
    OPEN = auto()
    EARLY = auto()
    """This rank's is open since before MPI started."""


def open_context(
    world: World,
    threads: int,
    alive: Callable[[], None] = lambda: None,
    died_in: str | None = None,
    host: str = "",
    gpus: Gpus = Gpus.NONE,
) -> Context:
    """Return the context of this rank; the loops are compiled when it returns.

    All ranks open theirs together.

    Args:
        world: of the job.
        threads: of the BLAS.
        alive: called between timed regions.
        died_in: a case in which a job ended whose MPI was handed addresses of a GPU.
        host: what rows call the node of this rank.
        gpus: whether ranks open GPUs, and when they did.
    """
    message_loops = None if world.mpi is None else open_message_loops(world.mpi)
    locality = Locality(open_copy_queue, local_rank(world), _numa_cpus())
    seats: tuple[GpuSeat | None, ...] = ()
    if gpus is not Gpus.NONE:
        # Before cores and NUMA nodes are looked at: each rank moves near its GPU.
        seats = find_seats(world, lambda: locality.gpu, gpus is Gpus.EARLY)
        alive()

    def follow_by(calls: GpuCalls) -> FollowsSteps:
        return GpuLibraryLoops(calls, message_loops, world.rank, world.size)

    return Context(
        communicator=world,
        memory_loops=open_memory_loops(),
        message_loops=message_loops,
        memories=LazyMemories(locality),
        gpu_library=Nccl(lambda: locality.gpu, world, follow_by),
        threads=threads,
        blas=_blas_name(),
        clock=time.perf_counter,
        last_cache_bytes=last_cache_bytes(Path("/")),
        alive=alive,
        own_cores=_have_own_cores(world, threads),
        takes_device=None if world.mpi is None else partial(_judge_mpi, world.library),
        died_in=died_in,
        host=host,
        turns=find_turns(world),
        verbs=None if world.mpi is None else Perftest(_own_numa()),
        gpu_seats=seats,
    )


class _Share(NamedTuple):
    """What a rank needs of its node, and what it may have."""

    threads: int
    cores: tuple[int, ...]
    quota_cores: float | None


def _have_own_cores(world: World, threads: int) -> bool:
    """Return whether no node has more threads than cores: the same answer on every rank.

    Ranks of one node may be bound to different cores; together they may use all of these.
    """
    by_rank = world.gather(_Share(threads, usable_cores(), read_quota(Path("/"))))
    needed: Counter[int] = Counter()
    granted: dict[int, float] = {}
    cores: dict[int, set[int]] = {}
    for node, share in zip(world.nodes, by_rank, strict=True):
        needed[node] += share.threads
        cores.setdefault(node, set()).update(share.cores)
        quota = math.inf if share.quota_cores is None else share.quota_cores
        granted[node] = min(granted.get(node, math.inf), quota)
    return all(needed[node] <= min(len(cores[node]), granted[node]) for node in needed)


def _judge_mpi(version: str | None, maker: Maker, collective: bool) -> TakesDevice:
    """Return whether the MPI of this process takes addresses of a GPU."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    library = None
    with contextlib.suppress(OSError):
        library = loaded_library(maps)
    stack = read_stack(version, library, maps, os.environ)
    return judge_stack(stack, maker, collective)


def local_rank(world: World) -> int:
    """Return the number of this rank among those of its node."""
    return world.nodes[: world.rank].count(world.nodes[world.rank])


def _own_numa() -> int | None:
    """Return the NUMA node of all cores that this rank may use; None where there are several."""
    return numa_of_cpus(Path("/"), frozenset(os.sched_getaffinity(0)))


def _numa_cpus() -> dict[int, tuple[int, ...]]:
    return {node.node: parse_cpu_list(node.cpus or "") or () for node in read_numa(Path("/"))}


def _blas_name() -> str:
    """Return the BLAS that NumPy loaded, such as `openblas-0.3.30`, or `unknown`."""
    blas = read_blas()
    return "unknown" if blas is None else f"{blas.name}-{blas.version or 'unknown'}"
