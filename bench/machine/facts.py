"""All facts of one node: gathered in well under a second, stored with every run.

Facts of hardware and kernel come from files below a root, so that a stored tree reads like a
machine; packages, BLAS and environment are those of this process.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from bench.machine.compared import BY_SLOT, COMPARED, Compared
from bench.machine.cpu import CpuFacts, cpu_rows, read_cpu
from bench.machine.describe import Rows, show
from bench.machine.ethtool import NicSettings
from bench.machine.gpu import GpuFacts, find_silent_gpus, gpu_rows, read_gpus
from bench.machine.host import HostFacts, host_rows, read_host, read_hostname
from bench.machine.interrupts import place_interrupts
from bench.machine.limits import LimitFacts, limit_rows, read_limits
from bench.machine.memory import MemoryFacts, NumaNode, memory_rows, read_memory, read_numa
from bench.machine.nic import Cards, NicFacts, RdmaFacts, nic_rows, read_cards
from bench.machine.pci import PcieLink
from bench.machine.settings import read_settings, settings_rows
from bench.machine.shared_memory import (
    SharedMemoryFacts,
    read_shared_memory,
    shared_memory_rows,
)
from bench.machine.software import (
    Blas,
    alike_environment,
    read_blas,
    read_libraries,
    read_packages,
    select_environment,
    software_rows,
)

Record = TypeVar("Record", bound=msgspec.Struct)

_HASH_DIGITS = 16


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a node that a reader of its numbers may ask for."""

    host: str | None = None
    """Host name, for rows; left out of the hash."""
    system: Annotated[HostFacts, COMPARED] = HostFacts()
    cpu: Annotated[CpuFacts, COMPARED] = CpuFacts()
    memory: Annotated[MemoryFacts, COMPARED] = MemoryFacts()
    numa: Annotated[tuple[NumaNode, ...], BY_SLOT] = ()
    gpus: Annotated[tuple[GpuFacts, ...], BY_SLOT] = ()
    silent_gpus: tuple[str, ...] = ()
    """PCI addresses of NVIDIA GPUs that no driver answers for."""
    nics: Annotated[tuple[NicFacts, ...], BY_SLOT] = ()
    rdma: Annotated[tuple[RdmaFacts, ...], BY_SLOT] = ()
    nic_settings: tuple[NicSettings, ...] = ()
    """Each way in which interfaces are set, once; `NicFacts.settings` is the number of one."""
    port_counters: tuple[str, ...] = ()
    """Each set of names of counters, once; `RdmaPort.counters` is the number of one."""
    blas: Annotated[Blas | None, COMPARED] = None
    packages: Annotated[dict[str, str], COMPARED] = {}
    """Version of Python, and of those Python packages that can move a number."""
    libraries: Annotated[dict[str, str | None], COMPARED] = {}
    """Installed version of UCX, libfabric and NCCL."""
    environment: Annotated[dict[str, str], Compared(view=alike_environment, of_job=True)] = {}
    settings: Annotated[dict[str, str], Compared(of_job=True)] = {}
    """Those of MPI and what carries its messages that stand in files, by variable and file."""
    shared_memory: Annotated[SharedMemoryFacts, COMPARED] = SharedMemoryFacts()
    limits: Annotated[LimitFacts | None, COMPARED] = None
    """Of the process that looked, which are those of ranks."""
    clock_s: float | None = None
    """Time of day when they were gathered, in seconds since 1970; left out of the hash."""


def gather_facts(root: Path = Path("/")) -> NodeFacts:
    """Gather the facts of the node whose files are below `root`."""
    # First: ranks of all nodes begin together, and end as their hardware lets them.
    clock_s = time.time()
    gpus = read_gpus(root)
    packages = read_packages()
    cards = read_cards(root)
    return NodeFacts(
        host=read_hostname(root),
        system=read_host(root),
        cpu=read_cpu(root),
        memory=read_memory(root),
        numa=read_numa(root),
        gpus=gpus,
        silent_gpus=find_silent_gpus(root, gpus),
        nics=cards.nics,
        rdma=cards.rdma,
        nic_settings=cards.nic_settings,
        port_counters=cards.port_counters,
        blas=read_blas(),
        packages=packages,
        libraries=read_libraries(root, packages),
        environment=select_environment(os.environ),
        settings=read_settings(root, os.environ),
        shared_memory=read_shared_memory(root),
        limits=read_limits(root),
        clock_s=clock_s,
    )


def read_records(records: Mapping[str, Any], kind: type[Record]) -> dict[str, Record]:
    """Return those records that this version can read, by their keys.

    Under a scheduler nobody compares versions first, and a stored run may be of another one.
    """
    found = {}
    for key, record in records.items():
        with contextlib.suppress(msgspec.ValidationError):
            found[key] = msgspec.convert(record, kind)
    return found


def facts_hash(facts: NodeFacts) -> str:
    """Return a hash of what stays the same from second to second, in hexadecimal.

    Left out: the host's name and time of day, free memory of either kind, current clocks, throttle
    reasons and PCIe generation of GPUs (an idle GPU lowers it), the single CPUs that serve
    interrupts of cards (a service may move them), and the number of the scheduler's job.
    """
    lasting = msgspec.structs.replace(
        facts,
        host=None,
        clock_s=None,
        memory=msgspec.structs.replace(facts.memory, available=None),
        shared_memory=msgspec.structs.replace(facts.shared_memory, free=None),
        gpus=tuple(_lasting(gpu) for gpu in facts.gpus),
        nics=tuple(
            msgspec.structs.replace(
                nic, interrupt_cpus=place_interrupts(nic.interrupt_cpus, facts.numa)
            )
            for nic in facts.nics
        ),
        environment={k: v for k, v in facts.environment.items() if k != "SLURM_JOB_ID"},
    )
    text = msgspec.json.encode(lasting, order="sorted")
    return hashlib.sha256(text).hexdigest()[:_HASH_DIGITS]


def facts_table(facts: NodeFacts) -> Rows:
    """Return printable label and value pairs for a person, `unknown` where a fact is missing."""
    return [
        ("Host", show(facts.host)),
        *host_rows(facts.system),
        *cpu_rows(facts.cpu),
        *memory_rows(facts.memory, facts.numa),
        *shared_memory_rows(facts.shared_memory),
        *limit_rows(facts.limits),
        *gpu_rows(facts.gpus, facts.silent_gpus),
        *nic_rows(_cards_of(facts), facts.numa),
        *software_rows(facts.packages, facts.libraries, facts.environment, facts.blas),
        *settings_rows(facts.settings),
    ]


def _cards_of(facts: NodeFacts) -> Cards:
    return Cards(
        nics=facts.nics,
        rdma=facts.rdma,
        nic_settings=facts.nic_settings,
        port_counters=facts.port_counters,
    )


def _lasting(gpu: GpuFacts) -> GpuFacts:
    link = gpu.pcie and msgspec.structs.replace(gpu.pcie, generation_now=None)
    return msgspec.structs.replace(
        gpu,
        pcie=link if link != PcieLink() else None,
        sm_mhz_now=None,
        memory_mhz_now=None,
        throttle=None,
    )
