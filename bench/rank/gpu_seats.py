"""Where the GPUs of a job's ranks are: which ranks share one, and whose memory is far from it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.contracts import Communicator, GpuSeat
from bench.core.gpu_cases import FAR, GPU_MEMORIES, SHARED, memory_kinds, opens_gpu
from bench.core.records import Axis, Case
from bench.machine.near_gpu import move_near, numa_of_cpus, numa_of_device
from bench.measure import MEASUREMENTS
from bench.measure.device_addresses import hands_device
from bench.measure.pair import end_memories, pair_ranks
from bench.rank.gpu_uuid import read_uuid
from bench.rank.memory.gpu import Gpu

_SLICE = "MIG-"


def find_seats(
    world: Communicator,
    open_gpu: Callable[[], Gpu],
    early: bool,
    root: Path = Path("/"),
) -> tuple[GpuSeat | None, ...]:
    """Return where each rank's GPU is, the same on all ranks; None for a rank that has none.

    Each moves near its GPU. All ranks call together.

    Args:
        world: of the job.
        open_gpu: opens the GPU of this rank.
        early: whether it is open since before MPI started.
        root: of the host's files.
    """
    return tuple(world.gather(_look(world.nodes[world.rank], open_gpu, early, root)))


def _look(node: int, open_gpu: Callable[[], Gpu], early: bool, root: Path) -> GpuSeat | None:
    try:
        gpu = open_gpu()
    except Exception:  # noqa: BLE001 - a case that asks for it has the reason
        return None
    move_near(gpu.pci_address, root)
    return GpuSeat(
        node=node,
        address=gpu.pci_address,
        device=_identify(gpu),
        gpu_numa=numa_of_device(root, gpu.pci_address),
        host_numa=numa_of_cpus(root, frozenset(os.sched_getaffinity(0))),
        # AMD's libraries do not ask which GPU is current when they start.
        late=not early and not gpu.runtime.is_hip,
    )


def _identify(gpu: Gpu) -> str:
    """Return what two ranks of a node have in common only where they have the same GPU.

    Slices of a GPU have its address: the driver numbers each, and the variable that hands one to a
    rank names it where the driver does not tell.
    """
    uuid = read_uuid(gpu.number, bool(gpu.runtime.is_hip))
    if uuid is not None:
        return f"{gpu.pci_address} {uuid.hex()}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    part = visible.partition(",")[0] if visible.startswith(_SLICE) else ""
    return f"{gpu.pci_address} {part}"


def gpu_ranks(case: Case, ranks: int) -> list[int]:
    """Return the ranks of a case that use their GPUs."""
    if not opens_gpu(case):
        return []
    if not MEASUREMENTS[case.benchmark].pairwise:
        return list(range(ranks))
    ends = zip(pair_ranks(case, ranks), end_memories(case), strict=True)
    return [rank for rank, kind in ends if kind in GPU_MEMORIES]


def seat_params(
    case: Case, seats: Sequence[GpuSeat | None], ranks: Iterable[int]
) -> dict[str, Axis]:
    """Return the facts of a row about where the GPUs of its ranks are.

    Args:
        case: that the row is of.
        seats: of all ranks of the job; empty where it opens no GPU.
        ranks: that use their GPUs.
    """
    own = [seat for rank in ranks if rank < len(seats) if (seat := seats[rank]) is not None]
    params: dict[str, Axis] = {}
    shared = sum(count > 1 for count in Counter((s.node, s.device) for s in own).values())
    slots = sum(count > 1 for count in Counter((s.node, s.address) for s in own).values())
    if shared:
        params[SHARED] = shared
    elif slots:
        params["gpu_slices"] = slots
    asked = case.axes.get("numa", "")
    chosen = isinstance(asked, int) and asked >= 0
    ends = [(seat.gpu_numa, int(asked) if chosen else seat.host_numa) for seat in own]
    params |= _joined("gpu_numa", [gpu for gpu, _ in ends])
    if _passes_host(case):
        params |= _joined("host_numa", [host for _, host in ends])
        far = sum(None not in (gpu, host) and gpu != host for gpu, host in ends)
        if far and not chosen:
            params[FAR] = far
    if any(seat.late for seat in own) and hands_device(case):
        params["gpu_opened"] = "after-mpi"
    return params


def _passes_host(case: Case) -> bool:
    """Return whether memory or CPUs of the host have a part in it: all but work inside GPUs."""
    inside = memory_kinds(case) == {"device"}
    return not inside or MEASUREMENTS[case.benchmark].profile.rows == "job"


def _joined(name: str, found: Sequence[int | None]) -> dict[str, Axis]:
    """Return NUMA nodes as one value, each once in the order of ranks; nothing where unknown."""
    nodes = [node for node in found if node is not None]
    if not nodes or len(nodes) < len(found):
        return {}
    words = [*dict.fromkeys(map(str, nodes))]
    return {name: nodes[0] if len(words) == 1 else "+".join(words)}
