"""The protocols between rooms: what a rank hands a measurement, and what it gets back.

Others import them from here.
"""

from bench.contracts.gpu import (
    CopiesAtOnce,
    DeviceProduct,
    DrivesGpus,
    GpuCalls,
    GpuLibrary,
    KnowsSlot,
    Multiplies,
    NamesGpus,
    OnGpu,
    TakesDevice,
    TimedCopies,
    Transfer,
)
from bench.contracts.launch import LaunchCommand, Launcher
from bench.contracts.loops import (
    KERNELS,
    STREAM_SCALAR,
    FollowsSteps,
    MemoryLoops,
    MessageLoops,
    Peer,
    Seconds,
    one_sample,
)
from bench.contracts.measurement import (
    AxisSpec,
    Checked,
    Clock,
    Communicator,
    ComparesRanks,
    Context,
    Measurement,
    Operation,
    Sleeps,
    UnpreparedError,
)
from bench.contracts.memory import Buffer, CopyQueue, Memories, Memory
from bench.contracts.verbs import Verbs, VerbsError, VerbsServer, VerbsTest

__all__ = [
    "KERNELS",
    "STREAM_SCALAR",
    "AxisSpec",
    "Buffer",
    "Checked",
    "Clock",
    "Communicator",
    "ComparesRanks",
    "Context",
    "CopiesAtOnce",
    "CopyQueue",
    "DeviceProduct",
    "DrivesGpus",
    "FollowsSteps",
    "GpuCalls",
    "GpuLibrary",
    "KnowsSlot",
    "LaunchCommand",
    "Launcher",
    "Measurement",
    "Memories",
    "Memory",
    "MemoryLoops",
    "MessageLoops",
    "Multiplies",
    "NamesGpus",
    "OnGpu",
    "Operation",
    "Peer",
    "Seconds",
    "Sleeps",
    "TakesDevice",
    "TimedCopies",
    "Transfer",
    "UnpreparedError",
    "Verbs",
    "VerbsError",
    "VerbsServer",
    "VerbsTest",
    "one_sample",
]
