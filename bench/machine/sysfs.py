"""Readers of the small files of /sys and /proc.

What such a file holds depends on kernel, driver and container. A file that is missing, unreadable
or garbage gives None: never an exception, and never a 0 that would pass for a fact.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_LIMIT = 1 << 16
"""Bytes read from one file: far above what any of them holds, so that no tree can fill memory."""

_WORD_LIMIT = 200
_CPU_LIMIT = 1 << 16
"""CPU numbers from here on are garbage; Linux supports at most 8192."""

_SIZE = re.compile(r"(\d{1,12})([KMG]?)", re.ASCII)
_SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_KIB_LINE = re.compile(r"(\w+):\s+(\d{1,15}) kB", re.ASCII)


def read_text(path: Path, limit: int = _LIMIT) -> str | None:
    """Return the first `limit` bytes of a file as text."""
    try:
        with path.open("rb") as file:
            return file.read(limit).decode()
    except (OSError, ValueError):  # ValueError: not UTF-8
        return None


def read_word(path: Path) -> str | None:
    """Return the first line of a file, stripped; None where it is empty or reads `unknown`."""
    text = read_text(path)
    word = text.strip().split("\n", 1)[0].strip() if text else ""
    if not word or word.lower() == "unknown" or len(word) > _WORD_LIMIT or not word.isprintable():
        return None
    return word


def read_natural(path: Path) -> int | None:
    """Return the number in a file; None for a negative one, by which the kernel means unknown."""
    word = read_word(path)
    return int(word) if word and word.isascii() and word.isdecimal() and len(word) < 19 else None


def read_size(path: Path) -> int | None:
    """Return the bytes in a file such as `32K`, the kernel's spelling of 32 KiB."""
    match = _SIZE.fullmatch(read_word(path) or "")
    return int(match[1]) * _SIZE_UNITS[match[2]] if match else None


def read_kib_lines(path: Path) -> dict[str, int]:
    """Return the bytes of every `Name:  123 kB` line of a meminfo file; the kernel's kB is KiB."""
    return {name: int(kib) * 1024 for name, kib in _KIB_LINE.findall(read_text(path) or "")}


def read_cpu_list(path: Path) -> tuple[int, ...] | None:
    """Return the CPU numbers in a file such as `0-3,8`; none of them where it is empty."""
    text = read_text(path)
    return None if text is None else parse_cpu_list(text)


def parse_cpu_list(text: str) -> tuple[int, ...] | None:
    """Return the CPU numbers that the kernel's list form names, or None where it is no list."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip(), re.ASCII)
        if match is None:
            return () if text.strip() == "" else None
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= _CPU_LIMIT:
            return None
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))


def cpu_list_text(cpus: Iterable[int]) -> str:
    """Return CPU numbers in the kernel's list form, such as `0-3,8`."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def list_folder(path: Path) -> list[Path]:
    """Return what is in a folder, sorted by name; nothing where it cannot be read.

    Names that could not be printed or stored are no device's, and left out.
    """
    try:
        return sorted(entry for entry in path.iterdir() if entry.name.isprintable())
    except OSError:
        return []


def list_numbered(path: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return the entries of a folder named `prefix` and a number, sorted by that number."""
    named = re.compile(rf"{re.escape(prefix)}(\d{{1,5}})", re.ASCII)
    found = [(named.fullmatch(entry.name), entry) for entry in list_folder(path)]
    return sorted((int(match[1]), entry) for match, entry in found if match)


def link_target(path: Path) -> str | None:
    """Return the last part of what a symbolic link names, such as the driver of a device."""
    try:
        return path.readlink().name or None
    except OSError:
        return None
