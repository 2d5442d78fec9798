"""Runs a command under strace, and reads what it did to the files below a folder.

Known are the calls by which Python and a C library change files. What is written through a mapping
is not seen. Paths are absolute, or relative to an open folder.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import psutil

from provekit.calls import (
    Act,
    Call,
    Create,
    MakeFolder,
    MakeLink,
    Remove,
    Rename,
    Sync,
    Truncate,
    Write,
)

_OPENS = frozenset({"open", "openat", "creat"})
_ON_FILES = frozenset({"write", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"})
_ON_NAMES = frozenset(
    {"rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"}
    | {"symlink", "symlinkat", "truncate"}
)
_REFUSED = frozenset(
    {"writev", "pwritev", "pwritev2", "fallocate", "link", "linkat", "syncfs", "copy_file_range"}
    | {"sendfile", "sendfile64"}
)
"""Calls that the model does not have; sync_file_range, which promises nothing, is left out."""
_LONGEST = 2**28
_ASK_S = 0.05
_HEX = r"(?:\\x[0-9a-f]{2})*"
_LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (-?\w+)(<.*>)?(?: .*)? <(\d+\.\d+)>$")
_DESCRIPTOR = re.compile(rf"(AT_FDCWD|\d+)?<({_HEX})>(\(deleted\))?")
_NAME = re.compile(rf'(?:<({_HEX})>, )?"({_HEX})"')
_BYTES = re.compile(rf'"({_HEX})"(\.\.\.)?')


def trace(
    command: Sequence[str], folder: Path, cwd: Path, kill_when: Callable[[], bool] | None = None
) -> int:
    """Run a command, leave a file for each of its threads in a folder, and what it printed.

    Args:
        kill_when: asked again and again; once it is true the command is killed.

    Returns:
        Its exit code.
    """
    known = ",".join(f"?{name}" for name in sorted(_OPENS | _ON_FILES | _ON_NAMES | _REFUSED))
    strace = ("strace", "-ff", "--seccomp-bpf", "-qq", "-ttt", "-T", "-y", "-xx")
    limits = ("-s", str(_LONGEST), "-e", f"trace={known}", "-e", "signal=none")
    tokens = (*strace, *limits, "-o", str(folder / "calls"), "--", *command)
    with (folder / "output.log").open("ab") as log:
        process = psutil.Popen(tokens, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd)
    while kill_when is not None and process.poll() is None:
        if kill_when():
            process.children()[0].kill()
            break
        time.sleep(_ASK_S)
    return int(process.wait())


def read_calls(folder: Path, root: Path) -> list[Call]:
    """Return what all threads did to the folder `root` and below it, in the order of its effect.

    Raises:
        ValueError: where a call cannot be read, or is none that the model has.
    """
    calls: list[Call] = []
    for path in folder.glob("calls.*"):
        reader = _Thread(PurePosixPath(root))
        for line in path.read_text(encoding="ascii").splitlines():
            calls += reader.read(line)
    return sorted(calls, key=lambda call: call.at_s)


class _Thread:
    """Reads the lines of one thread."""

    def __init__(self, root: PurePosixPath) -> None:
        self._root = root
        self._mark = "".join(f"\\x{byte:02x}" for byte in str(root).encode())
        self._offsets: dict[tuple[str, PurePosixPath], int] = {}
        """By descriptor and file, where the next byte goes that is not appended."""

    def read(self, line: str) -> Iterator[Call]:
        """Return what a line did below the root."""
        if self._mark not in line or "<unfinished" in line:
            return
        found = _LINE.match(line)
        if found is None:
            raise ValueError(f"strace wrote what is no call: {line[:200]}")
        began, name, arguments, result, opened, took_s = found.groups()
        if result == "-1":
            return
        if name in _OPENS:
            acts = self._open(name, arguments, result, opened)
        elif name in _ON_FILES:
            acts = self._act_on_file(name, arguments, result)
        elif name in _REFUSED:
            raise ValueError(f"the model has no {name}: {line[:200]}")
        else:
            acts = _act_on_names(name, arguments)
        for act in acts:
            if self._root == act.path or self._root in act.path.parents:
                yield Call(float(began), float(began) + float(took_s), act)

    def _open(self, name: str, arguments: str, result: str, opened: str | None) -> list[Act]:
        descriptor = _DESCRIPTOR.match(opened or "")
        asked = {"O_WRONLY", "O_CREAT", "O_TRUNC"} if name == "creat" else set(
            re.findall(r"O_\w+", arguments)
        )  # fmt: skip
        if descriptor is None or not asked & {"O_WRONLY", "O_RDWR"}:
            return []
        path = PurePosixPath(_decode(descriptor[2]).decode())
        if "O_APPEND" in asked:
            self._offsets.pop((result, path), None)
        else:
            self._offsets[result, path] = 0
        made: list[Act] = [Create(path)] if "O_CREAT" in asked else []
        return [*made, Truncate(path, 0)] if "O_TRUNC" in asked else made

    def _act_on_file(self, name: str, arguments: str, result: str) -> list[Act]:
        descriptor = _DESCRIPTOR.match(arguments)
        if descriptor is None or descriptor[3]:
            return []
        path = PurePosixPath(_decode(descriptor[2]).decode())
        key = descriptor[1], path
        match name:
            case "fsync" | "fdatasync":
                return [Sync(path)]
            case "ftruncate":
                return [Truncate(path, int(arguments.rpartition(",")[2]))]
            case "lseek":
                if key in self._offsets:
                    self._offsets[key] = int(result)
                return []
            case "pwrite64":
                offset = int(arguments.rpartition(",")[2])
                return [Write(path, offset, _written(arguments, int(result)))]
        # A descriptor that this thread did not open is that of a log, or was opened to append.
        place = self._offsets.get(key)
        if place is not None:
            self._offsets[key] = place + int(result)
        return [Write(path, place, _written(arguments, int(result)))]


def _act_on_names(name: str, arguments: str) -> list[Act]:
    found = [(_decode(base), _decode(given)) for base, given in _NAME.findall(arguments)]
    paths = [PurePosixPath(base.decode(), given.decode()) for base, given in found]
    match name.removesuffix("2").removesuffix("at"):
        case "mkdir":
            return [MakeFolder(paths[0])]
        case "unlink" | "rmdir":
            return [Remove(paths[0])]
        case "symlink":
            return [MakeLink(paths[1], found[0][1].decode())]
        case "rename" if "RENAME_EXCHANGE" not in arguments:
            return [Rename(paths[0], paths[1])]
        case "truncate":
            return [Truncate(paths[0], int(arguments.rpartition(",")[2]))]
    raise ValueError(f"the model has no {name}: {arguments[:200]}")


def _written(arguments: str, count: int) -> bytes:
    found = _BYTES.search(arguments)
    if found is None or found[2]:
        raise ValueError(f"strace left bytes out: {arguments[:200]}")
    return _decode(found[1])[:count]


def _decode(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
