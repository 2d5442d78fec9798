"""A case of ranks that send each other nothing: every node, or every GPU, measures for itself.

All places measure meanwhile, and those of a node begin every sample together where they can. Nodes
that share a machine take turns: at once they would measure how they share it. Who waits sleeps.
"""

from collections.abc import Sequence
from pathlib import Path

from bench.contracts import BeginsTogether, Context, KnowsSlot, Operation
from bench.core.events import Event
from bench.core.gpu_cases import memory_kinds
from bench.core.records import Axis, Case, Sampling, Status
from bench.measure import MEASUREMENTS
from bench.rank.active import Task, Watch, ask_case, measure_among, prepare_case
from bench.rank.at_once import can_join, count_places, fail_with_others, group_places, join
from bench.rank.gpu_seats import seat_params
from bench.rank.outcome import (
    Outcome,
    RankResult,
    Seat,
    overhead_params,
    report_effort,
    report_places,
)
from bench.rank.world import World, number_as_they_appear

_BOOT_ID = "proc/sys/kernel/random/boot_id"


def find_turns(world: World, root: Path = Path("/")) -> tuple[tuple[int, int], ...]:
    """Return for each node its turn among those of its machine, from 0, and how many there are.

    Containers and network namespaces of a machine have its kernel, and with it the number that the
    kernel drew when it booted; virtual machines have one each. A node that hides it is taken for a
    machine of its own. All ranks ask together.
    """
    try:
        own = (root / _BOOT_ID).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        own = ""
    told = world.gather(own)
    machines = [
        told[world.nodes.index(node)] or f"node {node}" for node in range(max(world.nodes) + 1)
    ]
    seen: dict[str, int] = {}
    turns = []
    for machine in machines:
        turns.append(seen.get(machine, 0))
        seen[machine] = turns[-1] + 1
    return tuple((turn, seen[machine]) for turn, machine in zip(turns, machines, strict=True))


def execute_in_places(case: Case, rule: Sampling, world: World, context: Context) -> list[Event]:
    """Run a case in every place; its samples and its end are complete on rank 0."""
    measurement = MEASUREMENTS[case.benchmark]
    status, reason = ask_case(measurement, case, context)
    context.alive()
    operation: Operation | None = None
    if reason is None:
        status = Status.FAILED
        operation, reason = prepare_case(measurement, case, context)
        context.alive()
    node = world.nodes[world.rank]
    idle = operation is not None and operation.idle
    own = Seat(node, context.host, _own_gpu(case, context), status, reason, idle)
    seats = _agree(world.gather(own))
    numbers = _number_places(seats)
    on_device = _uses_device(case)
    # Several places of a node would each read counters of all its bytes.
    counters = on_device and len({*numbers.values()}) == len({*world.nodes})
    watch = Watch(counters=counters, gpus=on_device, clocks=on_device)
    task = Task(case, measurement, rule, watch)
    able = seats[world.rank].status is Status.OK and operation is not None and not idle
    index = numbers[world.rank] if able else len(seats)
    outcome = _take_turns(operation, index, task, world, context)
    outcomes = world.gather(outcome)
    turns = context.turns or ((0, 1),) * (max(world.nodes) + 1)
    shared: dict[tuple[int, str | None], dict[str, Axis]] = {}
    for place in {seats[rank].place for rank in numbers}:
        count = turns[place[0]][1]
        ranks = [rank for rank in numbers if seats[rank].place == place]
        shared[place] = {"turns": count} if count > 1 else {}
        if beside := count_beside(seats, place):
            shared[place]["gpus_beside"] = beside
        shared[place] |= seat_params(case, context.gpu_seats, ranks)
    return [
        report_effort(case, outcomes),
        *report_places(case, measurement, seats, outcomes, shared, context.own_cores),
    ]


def count_beside(seats: Sequence[Seat], place: tuple[int, str | None]) -> int:
    """Return how many other GPUs of a node measured meanwhile."""
    awake = (seat for seat in seats if seat.status is Status.OK and not seat.idle)
    able = {seat.place for seat in awake if seat.gpu is not None}
    return sum(other[0] == place[0] for other in able - {place}) if place in able else 0


def _uses_device(case: Case) -> bool:
    return "device" in memory_kinds(case)


def _own_gpu(case: Case, context: Context) -> str | None:
    """Return the address of the GPU that this rank is measured by, where it is known."""
    device = context.memories.opened("device") if _uses_device(case) else None
    return device.pci_address if isinstance(device, KnowsSlot) else None


def _agree(seats: Sequence[Seat]) -> list[Seat]:
    """Return the seats with the status of their place: that of its first rank that cannot."""
    cannot: dict[tuple[int, str | None], Seat] = {}
    for seat in seats:
        if seat.reason is not None:
            cannot.setdefault(seat.place, seat)
    agreed = []
    for seat in seats:
        first = cannot.get(seat.place)
        status, reason = (Status.OK, None) if first is None else (first.status, first.reason)
        agreed.append(seat._replace(status=status, reason=reason))
    return agreed


def _number_places(seats: Sequence[Seat]) -> dict[int, int]:
    """Return the place of each rank that takes part, numbered as they appear."""
    ranks = [rank for rank, seat in enumerate(seats) if not seat.idle]
    places = number_as_they_appear(seats[rank].place for rank in ranks)
    return dict(zip(ranks, places, strict=True))


def _take_turns(
    operation: Operation | None, index: int, task: Task, world: World, context: Context
) -> Outcome:
    """Measure when it is this node's turn, and sleep until all are done."""
    indices, able = world.gather(index), world.gather(can_join(operation))
    colors = group_places(indices, able, world.nodes)
    at_once = index < world.size and count_places(indices, colors, world.rank) > 1
    apart = len(set(colors)) > 1
    active = world.split(colors) if apart else world
    turns = context.turns or ((0, 1),) * (max(world.nodes) + 1)
    own_turn, _ = turns[world.nodes[world.rank]]
    result = RankResult()
    for turn in range(max(count for _, count in turns)):
        if turn == own_turn and operation is not None and index < world.size:
            if at_once and isinstance(operation, BeginsTogether):
                join(active, world.rank, operation)
            result = measure_among(active, operation, task, context)
            if at_once:
                result = fail_with_others(active, world.rank, result)
        world.sleep_until_all_arrive()
        context.alive()
    if apart:
        active.free()
    if operation is None:
        return Outcome(index, result, "", {})
    params = {**operation.params, **overhead_params(operation.overhead_s, result)}
    if at_once:
        params["at_once"] = 1
    return Outcome(index, result, operation.timing_layer, params)
