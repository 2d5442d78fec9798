"""Whether this process's MPI may be handed addresses of a GPU: asked of what is loaded, no message.

An MPI that knows no GPU takes such an address for one of the host's: the rank dies in its first
message. Open MPI has two parts that may know: what carries messages (`pml`), and its own copies and
sums, in collectives and in datatypes (`accelerator`). With `pml` ucx, UCX asks the driver whose
memory an address is, so that messages may pass where collectives do not.
"""

import ctypes
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from bench.contracts import TakesDevice
from bench.machine.mpi import parse_library

Maker = Literal["cuda", "hip"]
"""Whose runtime the GPU's memory comes from."""

_QUERIES = {
    "cuda": ("MPIX_Query_cuda_support",),
    "hip": ("MPIX_Query_hip_support", "MPIX_Query_rocm_support"),
}
"""MPICH's names, and Open MPI's, which return 1 or 0 in a started MPI."""
_GPU_TYPE = {"cuda": 0, "hip": 2}
"""Of MPIX_GPU_query_support, which MPICH and Cray MPICH have."""
_ACCELERATOR = {"cuda": "cuda", "hip": "rocm"}
_UCX_MODULE = {"cuda": "libuct_cuda", "hip": "libuct_rocm"}
_UCX_COPIES = {"cuda": ("cuda_copy", "cuda"), "hip": ("rocm_copy", "rocm")}
"""The transport that knows device memory from the host's, and the alias that brings it along."""
_GTL = {"cuda": "libmpi_gtl_cuda", "hip": "libmpi_gtl_hsa"}
"""Without it Cray MPICH knows no GPU (documentation of CSCS, 2026-11)."""
_CRAY_SETTING = "MPICH_GPU_SUPPORT_ENABLED"
_NAME = re.compile(rb"[a-z0-9_]{2,64}")
_STAGED = "path staged needs no such MPI"


class MpiStack(msgspec.Struct, frozen=True, kw_only=True):
    """What this process loaded to pass messages; None and nothing are not known."""

    name: str | None = None
    """Of the MPI, such as `Open MPI`."""
    answers: dict[str, bool] = {}
    """Its own answer, by maker of the GPU."""
    pml: str | None = None
    """The component of Open MPI that carries messages."""
    accelerator: str | None = None
    """The component of Open MPI that knows a GPU; `null` knows none. Open MPI 4 has no such."""
    libraries: frozenset[str] = frozenset()
    """Names of the loaded shared libraries up to `.so`."""
    settings: dict[str, str] = {}
    """Those of its environment that matter."""


def read_stack(
    version: str | None, library: str | None, maps: str, environ: Mapping[str, str]
) -> MpiStack:
    """Ask the MPI library of this process, which has been started.

    Args:
        version: its version text.
        library: its path; None where it is not known.
        maps: `/proc/self/maps`.
        environ: of this process.
    """
    release = parse_library(version or "")
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line}
    names = {path.rsplit("/", 1)[1].partition(".so")[0] for path in paths if ".so" in path}
    answers = {maker: ask_library(library, maker) for maker in _QUERIES}
    return MpiStack(
        name=release.name if release else None,
        answers={maker: yes for maker, yes in answers.items() if yes is not None},
        pml=_selected(library, "pml"),
        accelerator=_selected(library, "accelerator"),
        libraries=frozenset(names),
        settings={name: environ[name] for name in ("UCX_TLS", _CRAY_SETTING) if name in environ},
    )


def ask_library(path: str | None, maker: str = "cuda") -> bool | None:
    """Return whether a started MPI library takes device memory, by its own answer."""
    try:
        library = ctypes.CDLL(path) if path else None
    except OSError:
        return None
    for name in _QUERIES[maker]:
        query = getattr(library, name, None)
        if query is not None:
            query.argtypes, query.restype = (), ctypes.c_int
            return bool(query())
    query = getattr(library, "MPIX_GPU_query_support", None)
    if query is None:
        return None
    query.argtypes, query.restype = (ctypes.c_int, ctypes.POINTER(ctypes.c_int)), ctypes.c_int
    supported = ctypes.c_int(0)
    return bool(supported) if query(_GPU_TYPE[maker], ctypes.byref(supported)) == 0 else None


def _selected(path: str | None, framework: str) -> str | None:
    """Return the component of Open MPI that was selected: its name follows that of its framework.

    The record begins with three numbers, then project, framework and component by name, each of
    fixed room (mca.h, 4.0 to 5.0).
    """
    if path is None:
        return None
    kind = "opal" if framework == "accelerator" else "mca"
    name = f"{kind}_{framework}_base_selected_component"
    try:
        record = (ctypes.c_char * 192).in_dll(ctypes.CDLL(path), name)
    except (OSError, ValueError):
        return None
    words = [word for word in record.raw.split(b"\0") if _NAME.fullmatch(word)]
    place = words.index(framework.encode()) + 1 if framework.encode() in words else len(words)
    return words[place].decode() if place < len(words) else None


def judge_stack(stack: MpiStack, maker: Maker, collective: bool) -> TakesDevice:
    """Return whether the MPI may be handed addresses of a GPU, and why not or why it is not known.

    Args:
        stack: what a rank has loaded.
        maker: whose memory.
        collective: for calls in which MPI itself copies or adds, else for messages.
    """
    own = _own_answer(stack, maker)
    name = stack.name or "this MPI"
    ucx = _judge_ucx(stack, maker) if stack.pml == "ucx" else None
    if ucx is not None and (ucx.answer is False or not collective):
        return ucx
    if ucx is not None and own is False:
        why = (
            f"{name} knows no {_gpu(maker)}: its UCX passes messages from GPU to GPU, but "
            "collectives copy and add on the processor, at addresses that only a GPU can read; "
            f"take an MPI built with {_toolkit(maker)}, or library nccl"
        )
        return TakesDevice(False, why)
    if stack.pml == "cm" and own is False and not collective:
        return TakesDevice(None, f"{name} passes messages to a library that may know GPUs itself")
    if own is False:
        return TakesDevice(False, f"{name} takes no addresses of a GPU: {_advice(stack, maker)}")
    if own is None:
        return TakesDevice(None, f"{name} does not say whether it takes addresses of a GPU")
    return TakesDevice(True, "")


def _own_answer(stack: MpiStack, maker: Maker) -> bool | None:
    """Return what the MPI answers for itself, leaving UCX aside."""
    if stack.name == "Cray MPICH" and stack.settings.get(_CRAY_SETTING, "0") != "1":
        return False
    if stack.name == "Cray MPICH" and _GTL[maker] not in stack.libraries:
        return False
    # Its query for ROCm answers no until that runtime is first used.
    if stack.accelerator is not None:
        return stack.accelerator == _ACCELERATOR[maker]
    return stack.answers.get(maker)


def _judge_ucx(stack: MpiStack, maker: Maker) -> TakesDevice:
    """UCX loads the module of a GPU when it starts; without, it takes all memory for the host's."""
    if _UCX_MODULE[maker] not in stack.libraries:
        why = (
            f"Open MPI passes messages to a UCX that has loaded nothing for {_gpu(maker)}s: put "
            f"one built with {_toolkit(maker)} first on LD_LIBRARY_PATH (docs/gpu.md); {_STAGED}"
        )
        return TakesDevice(False, why)
    named = stack.settings.get("UCX_TLS", "all")
    words = {word.partition(":")[0] for word in named.removeprefix("^").split(",")}
    copies = _UCX_COPIES[maker]
    if bool(words & {*copies}) if named.startswith("^") else not words & {*copies, "all"}:
        why = (
            f"UCX_TLS leaves {copies[0]} out, without which UCX takes all memory for the host's: "
            f"allow it, or unset UCX_TLS; {_STAGED}"
        )
        return TakesDevice(False, why)
    return TakesDevice(True, "")


def _advice(stack: MpiStack, maker: Maker) -> str:
    if stack.name == "Cray MPICH":
        return f"set {_CRAY_SETTING}=1 and preload {_GTL[maker]}.so; {_STAGED}"
    if stack.name == "Open MPI":
        return (
            f"take one built with {_toolkit(maker)}, or OMPI_MCA_pml=ucx with a UCX that was "
            f"(docs/gpu.md); {_STAGED}"
        )
    if stack.name == "MPICH":
        return (
            f"take one built with {_toolkit(maker)}, and leave MPIR_CVAR_ENABLE_GPU at 1; {_STAGED}"
        )
    return f"take one built with {_toolkit(maker)}; {_STAGED}"


def _toolkit(maker: Maker) -> str:
    return "CUDA" if maker == "cuda" else "ROCm"


def _gpu(maker: Maker) -> str:
    return "NVIDIA GPU" if maker == "cuda" else "AMD GPU"
