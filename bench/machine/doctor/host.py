"""Checks of cores, memory and Python: what the host does to every measurement."""

import re
from pathlib import Path

from bench.core.errors import printable
from bench.core.records import Finding
from bench.core.units import format_bytes, parse_bytes
from bench.machine.describe import format_count, format_memory
from bench.machine.facts import NodeFacts
from bench.machine.sysfs import read_text

_LITTLE_MEMORY = parse_bytes("2 GiB")
_STOLEN = 0.01
"""Of the time, from which on it shows in medians."""

_THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
)


def check_platform(system: str) -> list[Finding]:
    """Check that this is Linux, by the name that `platform.system()` gives."""
    if system == "Linux":
        return []
    return [
        Finding(
            name="not-linux",
            level="stop",
            text="clusterbench measures on Linux only, and this is "
            f"{printable(system) or 'unknown'}",
            advice="run it on a Linux machine; results from one can be reported anywhere",
            value=printable(system) or None,
            limit="Linux",
        )
    ]


def check_cores(facts: NodeFacts) -> list[Finding]:
    """Check that two ranks have a core each."""
    cores = facts.cpu.usable_cores
    if cores is None or cores >= 2:
        return []
    return [
        Finding(
            name="few-cores",
            level="warning",
            text="one core to use: two ranks share it, and each waits while the other runs, so "
            "that a latency measures the scheduler",
            advice="give this machine, container or allocation at least 2 cores",
            value=cores,
            limit=2,
            unit="cores",
        )
    ]


def check_affinity(facts: NodeFacts) -> list[Finding]:
    """Check that this process may run on all of the machine."""
    cpu = facts.cpu
    if cpu.usable is None or cpu.logical is None or cpu.usable >= cpu.logical:
        return []
    return [
        Finding(
            name="affinity",
            level="warning",
            text=f"this process may run on {cpu.usable} of the machine's "
            f"{format_count(cpu.logical, 'logical CPU')} ({cpu.usable_list}): ranks crowd there, "
            "and the machine's peak is out of reach",
            advice="start from a shell without taskset or cpuset, or allocate the whole node",
            value=cpu.usable,
            limit=cpu.logical,
            unit="logical CPUs",
        )
    ]


def check_quota(facts: NodeFacts) -> list[Finding]:
    """Check that no cgroup stops the ranks for a part of every period."""
    cpu = facts.cpu
    if cpu.quota_cores is None or cpu.usable is None or cpu.quota_cores >= cpu.usable:
        return []
    return [
        Finding(
            name="cpu-quota",
            level="warning",
            text=f"a cgroup grants CPU time for {cpu.quota_cores:.3g} of "
            f"{format_count(cpu.usable, 'logical CPU')}: ranks that use it up stand still until "
            "the next period, up to 0.1 s later",
            advice="lift the limit (`docker run --cpus`, the pod's CPU limit), or pin the "
            "container to whole cores instead",
            value=cpu.quota_cores,
            limit=cpu.usable,
            unit="logical CPUs",
        )
    ]


def check_governor(facts: NodeFacts) -> list[Finding]:
    """Check that cores keep their clock while a rank waits."""
    slow = [governor for governor in facts.cpu.governors if governor != "performance"]
    if slow:
        return [
            Finding(
                name="cpu-governor",
                level="warning",
                text=f"CPU governor {printable(', '.join(slow))}: cores lower their clock between "
                "messages, so that small messages look slower and times drift",
                advice="`sudo cpupower frequency-set -g performance`",
                value=printable(", ".join(slow)),
                limit="performance",
            )
        ]
    if facts.cpu.governors:
        return []
    return [
        Finding(
            name="cpu-governor",
            level="note",
            text="CPU governor unknown: clocks may change during a measurement unseen",
            advice="in a virtual machine it is the host's to set" if _is_virtual(facts) else None,
        )
    ]


def check_smt(facts: NodeFacts) -> list[Finding]:
    """Check whether cores are shared by hardware threads."""
    cpu = facts.cpu
    if cpu.logical is None or cpu.cores is None or cpu.logical <= cpu.cores:
        return []
    return [
        Finding(
            name="smt",
            level="note",
            text=f"SMT is on ({cpu.logical} logical CPUs on {format_count(cpu.cores, 'core')}): "
            "two ranks on one core share its units",
            advice="bind ranks to cores, not to hardware threads",
            value=cpu.logical,
            limit=cpu.cores,
            unit="logical CPUs",
        )
    ]


def check_load(facts: NodeFacts, load: float | None) -> list[Finding]:
    """Check that the last minute left cores free; `load` is its load average."""
    cores = facts.cpu.usable_cores
    if load is None or cores is None or load <= cores:
        return []
    return [
        Finding(
            name="load",
            level="warning",
            text=f"load average {load:.1f} on {format_count(cores, 'core')}: more work than cores, "
            "and ranks queue behind it",
            advice="wait until it falls, or measure on a machine that is free",
            value=load,
            limit=cores,
            unit="processes",
        )
    ]


def read_load(root: Path) -> float | None:
    """Return the load average of the last minute."""
    match = re.match(r"\d{1,6}\.\d\d ", read_text(root / "proc/loadavg") or "", re.ASCII)
    return float(match[0]) if match else None


def check_blas_threads(facts: NodeFacts) -> list[Finding]:
    """Check whether variables steer the threads of matmul."""
    known = [name for name in _THREAD_VARIABLES if name in facts.environment]
    if not known:
        return []
    named = ", ".join(f"{name}={printable(facts.environment[name])}" for name in known)
    return [
        Finding(
            name="blas-threads",
            level="note",
            text=f"{named} is set: it steers how many threads matmul uses",
            advice=f"unset it for the machine's own choice: `unset {' '.join(known)}`",
        )
    ]


def check_memory(facts: NodeFacts) -> list[Finding]:
    """Check that buffers fit into memory without swapping."""
    sizes = [size for size in (facts.memory.available, facts.memory.limit) if size is not None]
    if not sizes or min(sizes) >= _LITTLE_MEMORY:
        return []
    return [
        Finding(
            name="little-memory",
            level="warning",
            text=f"{format_memory(min(sizes))} of memory to use: large messages and matrices swap, "
            "or the kernel kills a rank",
            advice=f"free memory, at least {format_bytes(_LITTLE_MEMORY)}, or leave out the "
            "largest sizes",
            value=min(sizes),
            limit=_LITTLE_MEMORY,
            unit="B",
        )
    ]


def check_pages(facts: NodeFacts) -> list[Finding]:
    """Check what the kernel does to pages of memory behind a rank's back."""
    memory = facts.memory
    findings = []
    if memory.numa_balancing and len(facts.numa) > 1:
        findings.append(
            Finding(
                name="numa-balancing",
                level="warning",
                text="NUMA balancing is on: the kernel takes pages away from a rank to see which "
                "node uses them, and moves them, while it measures",
                advice="`sysctl -w kernel.numa_balancing=0`, and bind ranks",
                value="on",
                limit="off",
            )
        )
    if memory.huge_pages == "never":
        findings.append(
            Finding(
                name="huge-pages",
                level="note",
                text="transparent huge pages are off: large copies and products spend more of "
                "their time on addresses",
                advice="compare only with nodes that have them off, or `echo madvise > "
                "/sys/kernel/mm/transparent_hugepage/enabled`",
                value="never",
            )
        )
    elif memory.defrag == "always":
        findings.append(
            Finding(
                name="huge-pages",
                level="note",
                text="a process that takes memory waits until the kernel has made room for huge "
                "pages (defrag is `always`): the first use of a buffer may take long",
                advice="`echo madvise > /sys/kernel/mm/transparent_hugepage/defrag`",
                value="always",
            )
        )
    return findings


def check_stolen(share: float | None) -> list[Finding]:
    """Check that a hypervisor let this machine run; `share` is what it took since the boot."""
    if share is None or share < _STOLEN:
        return []
    return [
        Finding(
            name="stolen-time",
            level="note",
            text=f"since it was started this machine waited for {share:.1%} of the time that it "
            "would have run: other machines on the same hardware had its cores (steal time)",
            advice="measure several launches, spread over time, or on hardware of its own",
            value=share,
            limit=_STOLEN,
            unit="ratio",
        )
    ]


def read_stolen(root: Path) -> float | None:
    """Return the share of the time that CPUs would have run in which the hypervisor held them."""
    match = re.match(
        r"cpu +((?:\d{1,18} ){7}\d{1,18})", read_text(root / "proc/stat") or "", re.ASCII
    )
    if match is None:
        return None
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, match[1].split())
    ran = user + nice + system + interrupts + soft + stolen
    return stolen / ran if ran else None


def check_hypervisor(facts: NodeFacts) -> list[Finding]:
    """Check whether other machines share this hardware."""
    if not _is_virtual(facts):
        return []
    return [
        Finding(
            name="hypervisor",
            level="note",
            text=f"a virtual machine ({printable(facts.system.hypervisor)}): neighbours on the "
            "same hardware take time and bandwidth, and cannot be seen from here",
            advice="measure several launches, spread over time, and compare intervals",
        )
    ]


def check_numba(facts: NodeFacts) -> list[Finding]:
    """Check that timing loops can be compiled."""
    if "numba" in facts.packages:
        return []
    return [
        Finding(
            name="no-numba",
            level="warning",
            text="numba is not installed: timing loops run in the interpreter, which adds more to "
            "a small message than the message takes",
            advice="`pip install numba` in this environment",
        )
    ]


def _is_virtual(facts: NodeFacts) -> bool:
    return facts.system.hypervisor is not None
