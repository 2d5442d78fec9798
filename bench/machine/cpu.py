"""Facts of the processors: what there is, and what this process may use of it."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from bench.core.units import format_bytes, format_rate
from bench.machine.compared import COMPARED, Compared
from bench.machine.describe import UNKNOWN, Rows, format_count, show
from bench.machine.sysfs import (
    cpu_list_text,
    list_numbered,
    parse_cpu_list,
    read_cpu_list,
    read_natural,
    read_size,
    read_text,
    read_word,
)

_CPUS = "sys/devices/system/cpu"

SIMD_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "sve", "sve2", "bf16", "i8mm", "sme"),
)
"""Extensions that decide what a core can do in a cycle: x86-64 first, then aarch64."""

_ARM_PARTS = {
    ("0x41", "0xd0c"): "Arm Neoverse-N1",
    ("0x41", "0xd40"): "Arm Neoverse-V1",
    ("0x41", "0xd49"): "Arm Neoverse-N2",
    ("0x41", "0xd4f"): "Arm Neoverse-V2",
    ("0x41", "0xd8e"): "Arm Neoverse-N3",
    ("0x41", "0xd84"): "Arm Neoverse-V3",
    ("0x46", "0x001"): "Fujitsu A64FX",
}
"""Implementer and part of server cores: aarch64 kernels give no model name (as in lscpu)."""

_SMT_STATES = frozenset({"on", "off", "forceoff", "notsupported", "notimplemented"})
_CPUINFO_LIMIT = 1 << 14
"""The first processors stand for all, and every further one costs the kernel time."""


_CLOCKS = Compared(within=100.0, text=lambda mhz: format_rate(mhz * 1e6, "Hz"))
"""Chips of one model differ a little in their best clock; boost that is off is far more."""


class Cache(msgspec.Struct, frozen=True):
    """One kind of cache; `bytes` is the size of one of its `instances`."""

    name: str
    bytes: int
    instances: int


class Design(msgspec.Struct, frozen=True):
    """Which core it is, as its maker numbers them."""

    maker: str
    """The vendor of x86, or the implementer of Arm in hexadecimal."""
    family: int
    """The CPU family of x86, or the architecture of Arm."""
    model: int
    """The model of x86, or the part of Arm."""


class CpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The processors of a node. Logical CPUs are what the kernel schedules on.

    What a process may use is not compared: it depends on how the rank that looked was bound.
    """

    model: Annotated[str | None, COMPARED] = None
    architecture: str | None = None
    sockets: Annotated[int | None, COMPARED] = None
    cores: Annotated[int | None, COMPARED] = None
    logical: int | None = None
    usable: int | None = None
    """Logical CPUs that this process may run on; a bound rank sees those it is bound to."""
    usable_cores: int | None = None
    """Cores that those belong to."""
    usable_list: str | None = None
    quota_cores: Annotated[float | None, Compared(none="no limit", of_job=True)] = None
    """CPU time per wall time that the cgroup grants; None where it sets no limit."""
    smt: Annotated[str | None, COMPARED] = None
    """As the kernel spells it: on, off, forceoff, notsupported or notimplemented."""
    governors: Annotated[tuple[str, ...], COMPARED] = ()
    scaling_driver: Annotated[str | None, COMPARED] = None
    """What sets the clock; it decides whether `mhz_max` includes boost."""
    mhz_min: float | None = None
    mhz_max: Annotated[float | None, _CLOCKS] = None
    caches: tuple[Cache, ...] = ()
    simd: Annotated[tuple[str, ...], COMPARED] = ()
    design: Design | None = None


def read_cpu(root: Path) -> CpuFacts:
    """Read the facts of the processors below `root`."""
    cpus = read_cpu_list(root / _CPUS / "online") or ()
    allowed = read_allowed(root)
    siblings = {cpu: read_word(_core(root, cpu) / "thread_siblings_list") for cpu in cpus}
    packages = [read_natural(_core(root, cpu) / "physical_package_id") for cpu in cpus]
    info = _read_cpuinfo(root)
    flags = (info.get("flags") or info.get("Features") or "").split()
    usable = None if allowed is None else tuple(c for c in allowed if not cpus or c in siblings)
    return CpuFacts(
        model=_model(info),
        architecture=_read_architecture(root),
        sockets=_count_distinct(packages),
        cores=_count_distinct(list(siblings.values())),
        logical=len(cpus) or None,
        usable=len(usable) if usable else None,
        usable_cores=_count_distinct([siblings.get(cpu) for cpu in usable or ()]),
        usable_list=cpu_list_text(usable) if usable else None,
        quota_cores=read_quota(root),
        smt=_read_smt(root),
        governors=_read_governors(root, cpus),
        scaling_driver=read_word(_scaling(root, cpus[0]) / "scaling_driver") if cpus else None,
        mhz_min=_frequency(root, cpus, "cpuinfo_min_freq", lowest=True),
        mhz_max=_frequency(root, cpus, "cpuinfo_max_freq", lowest=False),
        caches=_read_caches(root, cpus),
        simd=tuple(flag for flag in SIMD_FLAGS if flag in flags),
        design=_read_design(info),
    )


def read_allowed(root: Path) -> tuple[int, ...] | None:
    """Return the logical CPUs that this process may run on: its affinity within its cpuset."""
    for line in (read_text(root / "proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return parse_cpu_list(line.partition(":")[2])
    return None


def usable_cores(root: Path = Path("/")) -> tuple[int, ...]:
    """Return the physical cores that this process may run on, each by its first logical CPU.

    A CPU whose siblings are unknown counts as a core. Two processes that are bound to different
    logical CPUs of one core get the same number.
    """
    if root == Path("/"):
        allowed = tuple(os.sched_getaffinity(0))  # of the CPUs that are online alone
    else:
        online = read_cpu_list(root / _CPUS / "online")
        allowed = tuple(c for c in read_allowed(root) or () if online is None or c in online)
    siblings = (read_cpu_list(_core(root, cpu) / "thread_siblings_list") for cpu in allowed)
    return tuple(sorted({min(s or (cpu,)) for cpu, s in zip(allowed, siblings, strict=True)}))


def is_masked(root: Path = Path("/")) -> bool:
    """Return whether this process may run on fewer CPUs than its cpuset, or the machine, has.

    Launchers heed a cpuset. They bind ranks to cores outside a mask that taskset or a scheduler
    without cpusets set (Open MPI 5.0.11, MPICH 5.0.2).
    """
    allowed, given = read_allowed(root), read_cpuset(root)
    return allowed is not None and given is not None and not {*given} <= {*allowed}


def read_cpuset(root: Path = Path("/")) -> tuple[int, ...] | None:
    """Return the CPUs that are online and in the cpuset of this process."""
    online = read_cpu_list(root / _CPUS / "online")
    files = [folder / "cpuset.cpus.effective" for folder in cgroup_folders(root)]
    files += [folder / "cpuset.effective_cpus" for folder in cgroup_folders(root, "cpuset")]
    # The nearest one that says so holds for those above it.
    found = next((cpus for cpus in map(read_cpu_list, files) if cpus), online)
    return found if online is None or found is None else tuple(c for c in found if c in online)


def share_cores(cpus: Iterable[int], root: Path = Path("/")) -> set[int]:
    """Return all logical CPUs of the cores that some belong to."""
    siblings = (read_cpu_list(_core(root, cpu) / "thread_siblings_list") or (cpu,) for cpu in cpus)
    return {each for core in siblings for each in core}


def count_rank_cores(root: Path = Path("/")) -> int:
    """Return how many ranks have a core each: those of the affinity mask that the quota pays for.

    At least 1; a core that is granted in part is none.
    """
    cores, quota = len(usable_cores(root)), read_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def read_quota(root: Path) -> float | None:
    """Return the cores' worth of time that cgroups grant: the least over all levels of v1 and v2.

    None where none sets a limit.
    """
    quotas = [(read_word(folder / "cpu.max") or "").split() for folder in cgroup_folders(root)]
    quotas += [
        [read_word(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        for folder in cgroup_folders(root, "cpu")
    ]
    # Without a limit the quota is `max` in v2, and -1 in v1.
    limits = [
        int(words[0]) / int(words[1])
        for words in quotas
        if len(words) == 2 and all(w.isdecimal() and w.isascii() and len(w) < 19 for w in words)
        if int(words[0]) and int(words[1])
    ]
    return min(limits, default=None)


def cgroup_folders(root: Path, controller: str = "") -> list[Path]:
    """Return the cgroup folders that this process is in, from its own up to the root.

    Args:
        root: of the file system.
        controller: of v1, such as `cpu`; those of v2 if not given.
    """
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        names, _, own = rest.partition(":/")
        if controller not in names.split(","):
            continue
        base = root / "sys/fs/cgroup"
        if controller:
            # Several controllers of v1 may share a tree, whose folder has the names of them all.
            alone = base / controller
            base = alone if alone.is_dir() else base / names
        # A process seen from inside another cgroup namespace has a path that starts with "..".
        parts = [] if ".." in own.split("/") else [part for part in own.split("/") if part]
        return [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return []


def cpu_rows(cpu: CpuFacts) -> Rows:
    """Return the facts of the processors for a person."""
    usable = (
        f"{format_count(cpu.usable, 'logical CPU')} on {format_count(cpu.usable_cores, 'core')}"
    )
    quota = "" if cpu.quota_cores is None else f", CPU time for {cpu.quota_cores:.3g} cores"
    caches = [f"{c.name} {format_bytes(c.bytes)} x {c.instances}" for c in cpu.caches]
    counts = (format_count(cpu.sockets, "socket"), format_count(cpu.cores, "core"))
    smt = "not supported" if cpu.smt in ("notsupported", "notimplemented") else show(cpu.smt)
    range_mhz = (cpu.mhz_min, cpu.mhz_max)
    return [
        ("CPU", f"{show(cpu.model)}, architecture {show(cpu.architecture)}"),
        ("Cores", f"{', '.join(counts)}, {format_count(cpu.logical, 'logical CPU')}, SMT {smt}"),
        ("Usable", f"{usable}: {show(cpu.usable_list)}{quota}"),
        (
            "Frequency",
            UNKNOWN if range_mhz == (None, None) else " to ".join(map(_format_mhz, range_mhz)),
        ),
        ("Governor", show(", ".join(cpu.governors) or None)),
        ("Caches", ", ".join(caches) or UNKNOWN),
        ("SIMD", " ".join(cpu.simd) or UNKNOWN),
    ]


def _format_mhz(mhz: float | None) -> str:
    return UNKNOWN if mhz is None else format_rate(mhz * 1e6, "Hz")


def _core(root: Path, cpu: int) -> Path:
    return root / _CPUS / f"cpu{cpu}" / "topology"


def _count_distinct(values: list[int | None] | list[str | None]) -> int | None:
    # One CPU whose place is unknown makes the count a guess.
    return None if not values or None in values else len(set(values))


def _read_cpuinfo(root: Path) -> dict[str, str]:
    info: dict[str, str] = {}
    text = read_text(root / "proc/cpuinfo", _CPUINFO_LIMIT) or ""
    for line in text.split("\n\n", 1)[0].splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip().isprintable():
            info[key.strip()] = value.strip()
    return info


def _model(info: dict[str, str]) -> str | None:
    if info.get("model name"):
        return info["model name"]
    part = (info.get("CPU implementer", ""), info.get("CPU part", ""))
    return _ARM_PARTS.get(part) or (f"implementer {part[0]}, part {part[1]}" if all(part) else None)


def _read_design(info: dict[str, str]) -> Design | None:
    maker = info.get("vendor_id") or info.get("CPU implementer")
    family, model = (
        _whole(info.get(x86) or info.get(arm) or "")
        for x86, arm in (("cpu family", "CPU architecture"), ("model", "CPU part"))
    )
    return None if not maker or family is None or model is None else Design(maker, family, model)


def _whole(text: str) -> int | None:
    """Return a number that is written in decimal, or as 0x and hexadecimal digits."""
    try:
        return int(text, 0)
    except ValueError:
        return None


def _read_architecture(root: Path) -> str | None:
    # The file came with Linux 6.1; a stored tree of an older kernel lacks it.
    own = platform.machine() if root == Path("/") else None
    return read_word(root / "proc/sys/kernel/arch") or own or None


def _read_smt(root: Path) -> str | None:
    state = read_word(root / _CPUS / "smt/control")
    return state if state in _SMT_STATES else None


def _read_governors(root: Path, cpus: tuple[int, ...]) -> tuple[str, ...]:
    found = {read_word(_scaling(root, cpu) / "scaling_governor") for cpu in cpus}
    return tuple(sorted(governor for governor in found if governor))


def _frequency(root: Path, cpus: tuple[int, ...], name: str, *, lowest: bool) -> float | None:
    found = [read_natural(_scaling(root, cpu) / name) for cpu in cpus]
    khz = [value for value in found if value]
    return (min(khz) if lowest else max(khz)) / 1000 if khz else None


def _scaling(root: Path, cpu: int) -> Path:
    return root / _CPUS / f"cpu{cpu}" / "cpufreq"


def _read_caches(root: Path, cpus: tuple[int, ...]) -> tuple[Cache, ...]:
    instances: dict[tuple[str, int], int] = {}
    seen: dict[int, set[int]] = {}
    for cpu in cpus:
        for index, folder in list_numbered(root / _CPUS / f"cpu{cpu}/cache", "index"):
            if cpu in seen.setdefault(index, set()):
                continue  # counted with the first CPU that shares it
            seen[index].update(read_cpu_list(folder / "shared_cpu_list") or (cpu,))
            name, size = _cache_name(folder), read_size(folder / "size")
            if name and size:
                instances[name, size] = instances.get((name, size), 0) + 1
    return tuple(Cache(name, size, number) for (name, size), number in sorted(instances.items()))


def last_cache_bytes(root: Path) -> int | None:
    """Return the bytes of all caches of the last level below `root`; None where unknown."""
    caches = _read_caches(root, read_cpu_list(root / _CPUS / "online") or ())
    last = max((cache.name for cache in caches), default=None)
    return sum(cache.bytes * cache.instances for cache in caches if cache.name == last) or None


def _cache_name(folder: Path) -> str | None:
    level = read_natural(folder / "level")
    suffix = {"Data": "d", "Instruction": "i", "Unified": ""}.get(read_word(folder / "type") or "")
    # Instruction caches have no part in moving data.
    return None if level is None or suffix in (None, "i") else f"L{level}{suffix}"
