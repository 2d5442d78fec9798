"""What a site's scheduler wants to be told: a small TOML file, checked to a `Site`.

    modules = ["module load openmpi/5"]   # shell lines of your own, put into scripts as they are
    account = "hpc-42"
    partition = "gpu"                     # PBS: the queue
    time = "02:00:00"
    flags = ["--qos=debug"]
    mpi = "pmix"

    [environment]
    UCX_TLS = "rc,self"

    [container]
    image = "/images/bench.sif"
    runtime = "apptainer"
    gpu = true
    mounts = ["/scratch:/scratch"]
    python = "python3"

Values reach commands and lines that a scheduler reads: what would end a line is refused here.
"""

import re
from pathlib import Path
from typing import Literal, cast

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.toml import (
    as_list,
    as_table,
    as_text,
    as_truth,
    as_word,
    parse_toml,
    read_text,
    refuse_unknown,
)

SITE_VARIABLE = "CLUSTERBENCH_SITE"
"""Environment variable with the path of the site file that is used where none is given."""

Runtime = Literal["apptainer", "pyxis"]

_RUNTIMES: tuple[Runtime, ...] = ("apptainer", "pyxis")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_FLAVOUR = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_TIME = re.compile(r"\d{1,4}:[0-5]\d:[0-5]\d", re.ASCII)


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """The container that every rank is started in."""

    image: str
    runtime: Runtime = "apptainer"
    gpu: bool = False
    """Whether Apptainer brings in the driver of the host's NVIDIA GPUs (`--nv`)."""
    mounts: tuple[str, ...] = ()
    """Folders of the host, such as `/scratch` or `/scratch:/data`."""
    python: str | None = None
    """The Python that has clusterbench in the image; the path of this one if not given."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A checked site file; without one, nothing is added to what is submitted."""

    modules: tuple[str, ...] = ()
    """Lines of shell, the user's own, each put into a script as it is."""
    account: str | None = None
    partition: str | None = None
    """Slurm's partition, PBS's queue."""
    time: str | None = None
    """Limit of a batch job, H:MM:SS; worked out from the job if not given."""
    flags: tuple[str, ...] = ()
    """More tokens for srun, or words of a directive in a script."""
    environment: dict[str, str] = {}
    """Variables of the ranks."""
    mpi: str | None = None
    """Flavour of `srun --mpi`; that of the MPI's family if not given."""
    container: Container | None = None


def load_site(path: Path | None, image: str | None = None) -> Site:
    """Load a site file.

    Args:
        path: of the file; no settings where there is none.
        image: the container's image, which beats that of the file.

    Raises:
        RequestError: where a file or a value is not valid.
    """
    site = Site()
    if path is not None:
        try:
            site = parse_site(read_text(path, "site"))
        except RequestError as error:
            raise RequestError(f"--site {printable(path, 200)}: {error}") from error
    if image is not None:
        changed = {**msgspec.structs.asdict(site.container or Container(image=""))}
        changed["image"] = _image(image, "--container")
        site = msgspec.structs.replace(site, container=Container(**changed))
    return site


def parse_site(text: str) -> Site:
    """Check the text of a site file.

    Raises:
        RequestError: where it is not valid; the message begins with the key's path.
    """
    document = parse_toml(text)
    refuse_unknown(document, "", Site.__struct_fields__)
    given = {key: _line(document[key], key) for key in ("account", "partition") if key in document}
    return Site(
        modules=_lines(document.get("modules", []), "modules"),
        flags=_lines(document.get("flags", []), "flags"),
        environment=_environment(document.get("environment", {})),
        time=_matching(document.get("time"), "time", _TIME, "hours:minutes:seconds, as 2:00:00"),
        mpi=_matching(document.get("mpi"), "mpi", _FLAVOUR, "a word that `srun --mpi=list` names"),
        container=_container(document["container"]) if "container" in document else None,
        **given,
    )


def check_line(text: str, path: str) -> str:
    """Return a value that keeps to one line of a script, and is not empty.

    Raises:
        RequestError: where it holds a line break or another character that does not print.
    """
    if not text:
        raise RequestError(f"{path}: empty; give it a value or leave it out")
    if not text.isprintable():
        raise RequestError(
            f"{path}: {printable(text)!r} holds a line break or another control character"
        )
    return text


def _line(value: object, path: str) -> str:
    return check_line(as_text(value, path), path)


def _lines(value: object, path: str) -> tuple[str, ...]:
    return tuple(_line(item, f"{path}[{i}]") for i, item in enumerate(as_list(value, path)))


def _matching(value: object, path: str, pattern: re.Pattern[str], wanted: str) -> str | None:
    if value is None:
        return None
    text = as_text(value, path)
    if not pattern.fullmatch(text):
        raise RequestError(f"{path}: {printable(text)!r} is not {wanted}")
    return text


def _environment(value: object) -> dict[str, str]:
    table = as_table(value, "environment")
    for name in table:
        if not _VARIABLE.fullmatch(name):
            raise RequestError(
                f"environment.{printable(name)}: no name of a variable; use letters, digits and "
                "'_', not beginning with a digit"
            )
    # A variable may be set to nothing.
    return {
        name: as_text(text, f"environment.{name}") and _line(text, f"environment.{name}")
        for name, text in sorted(table.items())
    }


def _container(value: object) -> Container:
    table = as_table(value, "container")
    refuse_unknown(table, "container", Container.__struct_fields__)
    if "image" not in table:
        raise RequestError("container.image: missing; give the path or the name of the image")
    runtime = as_word(table.get("runtime", "apptainer"), "container.runtime", _RUNTIMES)
    return Container(
        image=_image(as_text(table["image"], "container.image"), "container.image"),
        runtime=cast("Runtime", runtime),
        gpu=as_truth(table.get("gpu", False), "container.gpu"),
        mounts=_lines(table.get("mounts", []), "container.mounts"),
        python=_line(table["python"], "container.python") if "python" in table else None,
    )


def _image(text: str, path: str) -> str:
    """Return an image's name, which stands where a dash would make it an option."""
    if check_line(text, path).startswith("-"):
        raise RequestError(f"{path}: {printable(text)!r} begins with a dash; give a path or a name")
    return text
