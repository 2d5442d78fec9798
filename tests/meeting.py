"""Ranks as threads of one process, which follow schedules and may be made to deliver wrong bytes.

For faults that no MPI library can be asked for, and for any number of ranks at once.
"""

import ctypes
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.contracts import Context, Measurement, Operation, Seconds
from bench.core.records import Case
from bench.core.schedule import TYPES, Code, Steps
from bench.rank.world import SoloWorld, number_as_they_appear

TIMEOUT_S = 120
"""A guard against ranks that wait for ever, and no claim."""
Spoil = Callable[[Code, int, NDArray[Any]], None]
"""Changes what a step put into a rank's buffer: spoil(code, rank, elements)."""
KINDS = dict(zip(TYPES, (np.uint8, np.float32, np.float64), strict=True))


def at(address: int, nbytes: int, kind: str = "byte") -> NDArray[Any]:
    """Return bytes of this process as elements."""
    raw = (ctypes.c_char * nbytes).from_address(address) if nbytes else bytearray()
    return np.frombuffer(memoryview(raw), KINDS[kind])


class Rank(SoloWorld):
    """The world of one thread, as far as measurements ask it."""

    def __init__(self, rank: int, size: int, per_node: int | None = None) -> None:
        self.rank = rank
        self.size = size
        self.local_size = per_node or size
        self.nodes = tuple(other // self.local_size for other in range(size))


class World(Rank):
    """The world of one thread, in which all of them meet: every value is really passed on."""

    def __init__(self, meeting: "Meeting", rank: int, nodes: Sequence[int]) -> None:
        super().__init__(rank, len(nodes))
        self.meeting = meeting
        self.nodes = tuple(nodes)
        self.local_size = self.nodes.count(self.nodes[rank])

    def gather(self, value: Any) -> list[Any]:
        return self.meeting.pass_round(self.rank, value)

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def slowest(self, seconds: Seconds) -> Seconds:
        found: Seconds = np.max(self.gather(seconds.copy()), axis=0)
        return found

    def sleep_until_all_arrive(self) -> None:
        self.gather(None)

    def split(self, colors: Sequence[int]) -> "World":
        own = colors[self.rank]
        members = [rank for rank, color in enumerate(colors) if color == own]
        # The first member has the room where they meet.
        rooms = self.gather(Meeting(len(members)) if members[0] == self.rank else None)
        nodes = number_as_they_appear(self.nodes[rank] for rank in members)
        return World(rooms[members[0]], members.index(self.rank), nodes)


class Meeting:
    """What threads share."""

    def __init__(self, ranks: int, spoil: Spoil | None = None, per_node: int | None = None) -> None:
        self.ranks = ranks
        self.per_node = per_node
        self.spoil = spoil or (lambda *_: None)
        self.given: dict[int, Any] = {}
        self.barrier = threading.Barrier(ranks, timeout=TIMEOUT_S)
        self.mail: dict[tuple[int, int], queue.Queue[bytes]] = {
            (source, target): queue.Queue() for source in range(ranks) for target in range(ranks)
        }

    def prepare(self, measurement: Measurement, case: Case, context: Context) -> list[Operation]:
        """Return the operation of every rank."""
        return [
            measurement.prepare(
                case,
                msgspec.structs.replace(
                    context,
                    communicator=Rank(rank, self.ranks, self.per_node),
                    message_loops=Loops(self, rank),
                ),
            )
            for rank in range(self.ranks)
        ]

    def pass_round(self, rank: int, value: Any) -> list[Any]:
        """Return what every rank gave; each has to give something."""
        self.given[rank] = value
        self.barrier.wait()
        given = [self.given[other] for other in range(self.ranks)]
        self.barrier.wait()
        return given

    def all_do(self, work: Callable[[int], Any]) -> list[Any]:
        """Return what every rank's work returns, all at once; any exception is raised."""
        found: dict[int, Any] = {}
        errors: list[BaseException] = []

        def one(rank: int) -> None:
            try:
                found[rank] = work(rank)
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * TIMEOUT_S)
        for error in errors:
            raise error
        return [found[rank] for rank in range(self.ranks)]


class Loops:
    """Follows the steps of one rank; every sample takes a microsecond."""

    name = "meeting"
    overhead_s = None

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting = meeting
        self.rank = rank

    def requests(self, count: int) -> NDArray[Any]:
        return np.full(max(1, count), None, dtype=object)

    def follow(
        self,
        seconds: Seconds,
        loops: int,
        steps: Steps,
        requests: NDArray[Any] | None = None,
        stamps: NDArray[np.float64] | None = None,
    ) -> None:
        room = self.requests(steps.requests) if requests is None else requests
        for _ in range(loops * len(seconds)):
            for code, *rest in steps.table.tolist():
                self.take(Code(code), rest, room)
        seconds[:] = 1e-6
        if stamps is not None:
            stamps[:] = 1e-6

    def take(self, code: Code, operands: list[int], room: NDArray[Any]) -> None:
        a, b, c, d, e = operands
        mail, rank = self.meeting.mail, self.rank
        if code in (Code.SEND, Code.ISEND):
            mail[rank, c].put(at(a, b).tobytes())
        elif code is Code.RECV:
            self.receive(code, a, b, c)
        elif code is Code.IRECV:
            room[d] = (a, b, c)
        elif code is Code.WAITALL:
            for i in range(a, a + b):
                if room[i] is not None:
                    self.receive(code, *room[i])
                    room[i] = None
        elif code is Code.COPY:
            copy = ctypes.CFUNCTYPE(
                ctypes.c_int,
                *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
                *(ctypes.c_int, ctypes.c_void_p),
            )(d)
            assert copy(a, b, c, 4, e) == 0
        elif code is Code.SYNCHRONIZE:
            assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(a)(b) == 0
        elif code is Code.ADD:
            kind = TYPES[d]
            nbytes = c * KINDS[kind]().itemsize
            at(b, nbytes, kind)[:] += at(a, nbytes, kind)
        elif code is Code.TEST:
            pass
        elif code >= Code.BARRIER:
            self.collective(code, a, b, c, d)

    def receive(self, code: Code, address: int, nbytes: int, source: int) -> None:
        data = self.meeting.mail[source, self.rank].get(timeout=TIMEOUT_S)
        assert len(data) <= nbytes, "a message is longer than its buffer"
        if not data:
            return
        elements = at(address, nbytes)
        elements[: len(data)] = np.frombuffer(data, np.uint8)
        self.meeting.spoil(code, self.rank, elements)

    def collective(self, code: Code, a: int, b: int, c: int, d: int) -> None:
        ranks, rank = self.meeting.ranks, self.rank
        kind = TYPES[d] if code in (Code.ALLREDUCE, Code.REDUCE_SCATTER) else "byte"
        each = c * KINDS[kind]().itemsize
        gives = {
            Code.ALLREDUCE: each,
            Code.REDUCE_SCATTER: ranks * each,
            Code.ALLGATHER: each,
            Code.ALLTOALL: ranks * each,
            Code.BROADCAST: b if rank == c else 0,
            Code.SCATTER: ranks * each if rank == d else 0,
            Code.GATHER: each,
        }
        given = self.everybody(at(a, gives.get(code, 0), kind).copy())
        mine = slice(rank * c, (rank + 1) * c)
        # A rank's own order of adding, as algorithms differ.
        own_order = [given[(rank + step) % ranks] for step in range(ranks)]
        result: Any = None
        if code is Code.ALLREDUCE:
            result = sum(own_order[1:], own_order[0])
        elif code is Code.REDUCE_SCATTER:
            result = sum(own_order[1:], own_order[0])[mine]
        elif code is Code.ALLGATHER or (code is Code.GATHER and rank == d):
            result = np.concatenate(given)
        elif code is Code.ALLTOALL:
            result = np.concatenate([sent[mine] for sent in given])
        elif code is Code.SCATTER:
            result = given[d][mine]
        elif code is Code.BROADCAST and rank != c:
            result, b = given[c], a
        if result is not None:
            target = at(b, result.nbytes, kind)
            target[:] = result
            self.meeting.spoil(code, rank, target)
        self.meeting.barrier.wait()

    def everybody(self, own: NDArray[Any]) -> list[NDArray[Any]]:
        return self.meeting.pass_round(self.rank, own)
