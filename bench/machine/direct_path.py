"""E0: what modules, kernel, PCIe tree and libraries of a node allow.

None of it shows that a message took the direct path; what is missing can show that none did.
"""

import re
import shutil
from pathlib import Path
from typing import Annotated

import msgspec

from bench.core.errors import printable
from bench.machine.aware import ask_library
from bench.machine.compared import BY_SLOT, COMPARED, Compared
from bench.machine.gpu import GpuFacts
from bench.machine.mpi import ask
from bench.machine.nic import PEER_MODULES, read_rdma
from bench.machine.sysfs import list_folder, read_text, read_word
from bench.machine.topology import Between, find_gpus, relate
from bench.machine.ucx import find_ucx_info

_OPEN_MODULE = "Open Kernel Module"
_LEAST_KERNEL, _LEAST_CUDA, _LEAST_UCX = (5, 12), (11, 7), (1, 14)
"""From which on dma-buf hands device memory to a network card (FAQ of UCX)."""
_ASK_TIMEOUT_S = 20.0
_NUMBERS = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_TRANSPORT = re.compile(r"^#\s+Transport: (\w{1,40})\s*$", re.M)
_UCX_VERSION = re.compile(r"^# (?:Library v|V)ersion:? (\d{1,4}\.\d{1,4}[\d.]{0,12})", re.M)


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node allows of the direct path; None is not known."""

    peer_module: Annotated[str | None, Compared(none="none")] = None
    """The loaded module that lets a network card reach device memory; None where none is."""
    dma_buf: Annotated[bool | None, COMPARED] = None
    """Whether the kernel can do so without such a module."""
    dma_buf_reason: str | None = None
    """What stands against it, or is not known."""
    iommu: Annotated[str | None, COMPARED] = None
    """`off`, or the modes of its groups, such as `DMA-FQ` or `identity`."""
    between: Annotated[tuple[Between, ...], BY_SLOT] = ()
    """For every GPU and RDMA device."""
    ucx_version: Annotated[str | None, COMPARED] = None
    ucx_transports: Annotated[tuple[str, ...] | None, COMPARED] = None
    ucx_reason: str | None = None
    """Why those are not known."""
    mpi_cuda: Annotated[bool | None, COMPARED] = None
    """Whether the MPI library itself claims to take CUDA buffers."""
    ompi_cuda: Annotated[bool | None, COMPARED] = None
    """Whether it was built with CUDA, by `ompi_info`."""

    @property
    def possible(self) -> bool | None:
        """Whether a network card of this node can reach device memory at all."""
        if self.peer_module is not None or self.dma_buf:
            return True
        return self.dma_buf


def gather_paths(
    root: Path = Path("/"), gpus: tuple[GpuFacts, ...] = (), library: str | None = None
) -> PathFacts:
    """Gather what the node below `root` allows; its programs are asked on this machine alone.

    Args:
        root: of the node's files.
        gpus: as its drivers describe them.
        library: path of the MPI library that this process has started; None asks none.
    """
    live = root == Path("/")
    ucx = _ask_ucx() if live else _Ucx(reason="no program of a stored tree can be asked")
    dma_buf, why = _judge_dma_buf(root, gpus, ucx.version)
    return PathFacts(
        peer_module=_find_peer_module(root),
        dma_buf=dma_buf,
        dma_buf_reason=why,
        iommu=_read_iommu(root),
        between=relate(root, find_gpus(root), read_rdma(root)),
        ucx_version=ucx.version,
        ucx_transports=ucx.transports,
        ucx_reason=ucx.reason,
        mpi_cuda=ask_library(library) if live else None,
        ompi_cuda=_ask_ompi_info() if live else None,
    )


def describe_paths(facts: PathFacts) -> str:
    """Return what stands for and against the direct path, in a line."""
    parts = [
        f"peer-memory module {facts.peer_module or 'not loaded'}",
        f"dma-buf {_yes_no(facts.dma_buf)}"
        + (f" ({facts.dma_buf_reason})" if facts.dma_buf_reason else ""),
        f"IOMMU {facts.iommu or 'unknown'}",
    ]
    parts += [
        f"{one.gpu} to {one.nic} {one.distance or 'unknown'}"
        + (", ACS redirects" if one.acs_redirect else "")
        + (f", {one.acs_reason}" if one.acs_reason else "")
        for one in facts.between
    ]
    if facts.ucx_transports is not None:
        gpu = [name for name in facts.ucx_transports if name.startswith(("cuda", "gdr", "rocm"))]
        parts.append(f"UCX {facts.ucx_version or ''} with {', '.join(gpu) or 'no GPU transport'}")
    parts.append(f"MPI takes CUDA buffers: {_yes_no(facts.mpi_cuda)}")
    return printable("; ".join(parts), 1000)


def _yes_no(answer: bool | None) -> str:
    return "unknown" if answer is None else "yes" if answer else "no"


def _find_peer_module(root: Path) -> str | None:
    for name in PEER_MODULES:
        if (root / "sys/module" / name).is_dir():
            return name
    # amdgpu brings it along, and the RDMA core lists who has registered.
    clients = [entry.name for entry in list_folder(root / "sys/kernel/mm/memory_peers")]
    return next((name for name in clients if name.startswith(("amd", "nv"))), None)


def _judge_dma_buf(
    root: Path, gpus: tuple[GpuFacts, ...], ucx: str | None
) -> tuple[bool | None, str | None]:
    """Return whether dma-buf can be, and what stands against it or is not known."""
    if not find_gpus(root):
        return False, "no GPU on the bus"
    kernel = _version(read_word(root / "proc/sys/kernel/osrelease"))
    checks = [(f"kernel older than {_dotted(_LEAST_KERNEL)}", _at_least(kernel, _LEAST_KERNEL))]
    if any(gpu.vendor == "nvidia" for gpu in gpus) or (root / "sys/module/nvidia").is_dir():
        driver = read_text(root / "proc/driver/nvidia/version")
        cuda = next((_version(gpu.cuda) for gpu in gpus if gpu.cuda), None)
        checks += [
            ("NVIDIA's kernel module is not the open one", _is_open(driver)),
            (f"CUDA older than {_dotted(_LEAST_CUDA)}", _at_least(cuda, _LEAST_CUDA)),
        ]
    ucx_version = _version(ucx)
    against = [name for name, holds in checks if holds is False]
    if against:
        return False, against[0]
    # Another library than UCX may use it as well, so that an old UCX does not rule it out.
    checks.append((f"UCX older than {_dotted(_LEAST_UCX)}", _at_least(ucx_version, _LEAST_UCX)))
    doubtful = [name if holds is False else f"not known: {name}" for name, holds in checks
                if not holds]  # fmt: skip
    return (None, doubtful[0]) if doubtful else (True, None)


def _is_open(driver: str | None) -> bool | None:
    """Return whether the driver's own description names its open kernel module."""
    return None if driver is None else _OPEN_MODULE in driver


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _version(text: str | None) -> tuple[int, int] | None:
    found = _NUMBERS.match(text or "")
    return (int(found[1]), int(found[2])) if found else None


def _at_least(version: tuple[int, int] | None, least: tuple[int, int]) -> bool | None:
    return None if version is None else version >= least


def _read_iommu(root: Path) -> str | None:
    groups = root / "sys/kernel/iommu_groups"
    if not groups.is_dir():
        return None
    modes = {read_word(group / "type") for group in list_folder(groups)}
    if not modes:
        return "off"
    named = sorted(mode for mode in modes if mode)
    return " and ".join(named) or None


class _Ucx(msgspec.Struct, frozen=True, kw_only=True):
    version: str | None = None
    transports: tuple[str, ...] | None = None
    reason: str | None = None


def _ask_ucx() -> _Ucx:
    program, folder = find_ucx_info()
    if program is None:
        return _Ucx(reason="no ucx_info on the path or from a wheel")
    env = {"LD_LIBRARY_PATH": str(folder)} if folder else {}
    answer = _output((str(program), "-v", "-d"), env)
    if answer is None:
        return _Ucx(reason="ucx_info gave no answer")
    version = _UCX_VERSION.search(answer)
    return _Ucx(
        version=version[1] if version else None,
        transports=tuple(dict.fromkeys(_TRANSPORT.findall(answer))),
    )


def _ask_ompi_info() -> bool | None:
    program = shutil.which("ompi_info")
    answer = _output((program, "--parsable", "--all"), {}) if program else None
    found = re.search(r"built_with_cuda_support:value:(true|false)", answer or "")
    return found[1] == "true" if found else None


def _output(tokens: tuple[str, ...], env: dict[str, str]) -> str | None:
    """Return what a program printed, or None where it failed."""
    done = ask(tokens, _ASK_TIMEOUT_S, env)
    return done.stdout if done is not None and done.returncode == 0 else None
