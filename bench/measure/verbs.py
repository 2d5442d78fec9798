"""Messages by verbs between the RDMA devices of two hosts, measured by perftest: MPI's ceiling.

The last rank starts the end that waits, rank 0 the one that connects and sends. Both are programs
of their own, so a sample costs their start; ranks sleep meanwhile, and agree before and after by
messages of MPI. What arrives is not checked, since perftest does not show it.
"""

import json
import socket

import msgspec
import numpy as np

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    KnowsSlot,
    Measurement,
    OnGpu,
    Operation,
    Peer,
    Profile,
    Seconds,
    Verbs,
    VerbsError,
    VerbsTest,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule
from bench.measure.axes import BYTES, MEMORY, PAIR, whole, with_default, word

TESTS = ("write_bw", "send_bw", "write_lat", "send_lat")
MOST_BYTES = 2**23
"""Largest message of perftest's own range."""
LEAST_MESSAGES, MOST_MESSAGES = 100, 5000
SENT_BYTES = 2**29
"""In one sample, as far as the messages allow: at 10 GB/s that takes 50 ms."""
PROBE = 5
"""Messages that show whether the programs reach each other; perftest takes no fewer."""
TEXT_BYTES = 4096
MOST_REASON = 400
"""Characters; JSON writes some as six bytes."""


class _Reply(msgspec.Struct):
    """What one rank sends the other."""

    reason: str | None = None
    """Why it goes no further."""
    host: str = ""
    """To connect to; empty where both ranks are on one."""
    number: int = 0
    """TCP port of the end that waits."""
    seconds: float = 0.0


class VerbsMessages:
    """Verbs between two ranks' devices."""

    name = "verbs"
    title = "messages by verbs between two RDMA devices, without MPI (perftest)"
    axes: tuple[AxisSpec, ...] = (
        msgspec.structs.replace(with_default(BYTES, 2**16), least=2, most=MOST_BYTES),
        AxisSpec(
            name="test",
            kind=str,
            default=("write_bw", "send_lat"),
            choices=TESTS,
            in_id=True,
            advice="RDMA write or send, back to back or to and fro",
        ),
        AxisSpec(
            name="nic",
            kind=int,
            default=(-1,),
            least=-1,
            most=63,
            advice="number of the active RDMA port at both ends; -1 for a near one",
        ),
        msgspec.structs.replace(MEMORY, choices=("host", "device")),
        PAIR,
    )
    rank_agg = "rank0"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = True
    profile = Profile(family="point to point", bound="between devices", hands_memory_to_mpi=False)

    def work(self, case: Case) -> Work:
        """One message."""
        return Work(bytes=whole(case, "bytes"), rate_bytes=whole(case, "bytes"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """One pair; of back to back messages one way."""
        to_and_fro = word(case, "test").endswith("_lat")
        return {"pairs": 1} if to_and_fro else {"direction": "uni", "pairs": 1}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why the programs do not run, or do not reach each other, or None."""
        if context.message_loops is None or context.verbs is None:
            return "needs MPI: two ranks start the ends"
        world = context.communicator
        if world.rank not in (0, world.size - 1):
            return None
        ends = _Ends(case, context)
        own = _lacks_gpu(case, context) or context.verbs.lacks(ends.asked)
        other = ends.exchange(_Reply(own)).reason
        if own is not None or other is not None:
            return own or other
        context.alive()
        try:
            ends.measure(PROBE)
        except VerbsError as error:
            return str(error)
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Choose how many messages are a sample."""
        return _Messages(case, context)


def _lacks_gpu(case: Case, context: Context) -> str | None:
    """Return why a rank has no memory of a GPU that perftest knows, or None."""
    if word(case, "memory") == "host":
        return None
    lack = context.memories.lacks("device")
    if lack is None and _gpu_of(case, context) is None:
        return "verbs from memory of a GPU need one of NVIDIA"
    return lack


def _gpu_of(case: Case, context: Context) -> str | None:
    """Return the PCI address of the rank's GPU, where its memory is asked for."""
    if word(case, "memory") == "host" or context.memories.lacks("device") is not None:
        return None
    memory = context.memories["device"]
    is_nvidia = isinstance(memory, OnGpu) and memory.maker == "cuda"
    return memory.pci_address if is_nvidia and isinstance(memory, KnowsSlot) else None


class _Messages:
    overhead_s = None
    timing_layer = "perftest"
    sleeps = True

    def __init__(self, case: Case, context: Context) -> None:
        world, verbs = context.communicator, context.verbs
        self.idle = world.rank not in (0, world.size - 1)
        self.params: dict[str, Axis] = {}
        if self.idle or verbs is None:
            return
        self._ends = _Ends(case, context)
        self._messages = max(LEAST_MESSAGES, min(MOST_MESSAGES, SENT_BYTES // whole(case, "bytes")))
        self._alive = context.alive
        self.params = {
            "messages": self._messages,
            "device": verbs.device_name(self._ends.asked),
        }
        distance = verbs.distance(self._ends.asked)
        if distance is not None:
            self.params["nic_distance"] = distance

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with one time per message for each start of the programs."""
        del loops  # each start has many messages of its own
        for sample in range(len(seconds)):
            self._alive()
            seconds[sample] = self._ends.measure(self._messages)

    def verify(self, seed: int) -> Checked:
        """Nothing: perftest does not show what arrived."""
        del seed
        return Checked(0, 0)


class _Ends:
    """Both ends of a measurement, seen from one of them."""

    def __init__(self, case: Case, context: Context) -> None:
        world = context.communicator
        if context.verbs is None:
            raise RuntimeError("a case of verbs was prepared without them")
        self._verbs: Verbs = context.verbs
        self._loops = context.need_message_loops()
        self._peer = Peer(world.size - 1 if world.rank == 0 else 0, world.rank == 0)
        self.asked = VerbsTest(
            word(case, "test"), whole(case, "bytes"), whole(case, "nic"), _gpu_of(case, context)
        )
        self._one_node = world.nodes[0] == world.nodes[-1]
        memory = context.memories["host"]
        self._outbox, self._inbox = memory.allocate(TEXT_BYTES), memory.allocate(TEXT_BYTES)

    def measure(self, messages: int) -> float:
        """Return the seconds of one message, on both ranks.

        Raises:
            VerbsError: with the reason of either end, on both.
        """
        reply = self._connect(messages) if self._peer.leads else self._wait(messages)
        if reply.reason is not None:
            raise VerbsError(reply.reason)
        return reply.seconds

    def _wait(self, messages: int) -> _Reply:
        """Start the end that waits, send where it is, and receive what came of it."""
        try:
            server = self._verbs.serve(self.asked, messages)
        except VerbsError as error:
            reply = _Reply(reason=str(error)[:MOST_REASON])
            self._send(reply)
            return reply
        host = "" if self._one_node else socket.gethostname()
        self._send(_Reply(host=host, number=server.number))
        # MPI would wait busily, on the core that the program needs.
        server.finish()
        return self._receive()

    def _connect(self, messages: int) -> _Reply:
        """Receive where the other end is, run the one that measures, and send what came of it."""
        there = self._receive()
        if there.reason is not None:
            return there
        try:
            seconds = self._verbs.measure(self.asked, messages, there.host, there.number)
            reply = _Reply(seconds=seconds)
        except VerbsError as error:
            reply = _Reply(reason=str(error)[:MOST_REASON])
        self._send(reply)
        return reply

    def exchange(self, reply: _Reply) -> _Reply:
        """Send to the other end, and return what it sends."""
        if self._peer.leads:
            self._send(reply)
            return self._receive()
        received = self._receive()
        self._send(reply)
        return received

    def _send(self, reply: _Reply) -> None:
        text = json.dumps(msgspec.to_builtins(reply)).encode()[:TEXT_BYTES]
        self._outbox.write(np.frombuffer(text.ljust(TEXT_BYTES), np.uint8))
        schedule = Schedule()
        schedule.send(self._outbox.address, TEXT_BYTES, self._peer.rank)
        self._loops.follow(np.empty(1), 1, schedule.cut())

    def _receive(self) -> _Reply:
        schedule = Schedule()
        schedule.receive(self._inbox.address, TEXT_BYTES, self._peer.rank)
        self._loops.follow(np.empty(1), 1, schedule.cut())
        return msgspec.json.decode(self._inbox.read().tobytes().strip(), type=_Reply)


BENCHMARKS: tuple[Measurement, ...] = (VerbsMessages(),)
