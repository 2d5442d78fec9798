"""The UCX of a wheel in this Python environment, and its program."""

import contextlib
import importlib.util
import shutil
from pathlib import Path

_LIBRARY = "libucp.so.0"


def find_ucx_wheel() -> Path | None:
    """Return the folder of libraries of a libucx wheel in this environment, if there is one."""
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec("libucx")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / "lib" / _LIBRARY).exists():
                return Path(place) / "lib"
    return None


def find_ucx_info() -> tuple[Path | None, Path | None]:
    """Return `ucx_info`, and the folder of libraries that it needs where a wheel brings both."""
    wheel = find_ucx_wheel()
    if wheel is not None and (wheel.parent / "bin/ucx_info").is_file():
        return wheel.parent / "bin/ucx_info", wheel
    found = shutil.which("ucx_info")
    return (Path(found), None) if found else (None, None)
