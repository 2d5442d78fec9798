"""What POSIX allows a folder to be after a power cut: a model of what was done to it, and draws.

A file is its durable bytes and the changes since; a folder is its durable names and the changes
since. fsync or fdatasync of a file makes its bytes durable, not its name; fsync of a folder makes
the names in it durable, not what they stand for. Between files and folders there is no order.
"""

import random
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

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

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


class Contents(StrEnum):
    """What became of the bytes of files that were not synced."""

    KEPT = "kept"
    LOST = "lost"
    SHORT = "cut short"
    """Changes up to one, and of that one some bytes."""
    TORN = "torn"
    """As cut short or kept, of which any sector is still what was durable, or zero."""
    ZERO = "zero"
    """As cut short or kept by length, but every sector is still what was durable, or zero."""
    MIXED = "each its own"


class Names(StrEnum):
    """What became of the names that were not synced."""

    KEPT = "kept"
    LOST = "lost"
    SOME = "some"


class Change(NamedTuple):
    """Bytes written from an offset on; without bytes the file ends there."""

    at_s: float
    offset: int
    data: bytes | None


class File:
    """A file, whatever its names."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Change] = []
        self.size = 0

    def change(self, at_s: float, offset: int | None, data: bytes | None) -> None:
        """Note a write, or the cut of its end."""
        offset = self.size if offset is None else offset
        self.pending.append(Change(at_s, offset, data))
        self.size = offset if data is None else max(self.size, offset + len(data))

    def sync(self, before_s: float) -> None:
        """Make durable what was done before a moment."""
        done = [change for change in self.pending if change.at_s <= before_s]
        self.durable = apply(self.durable, done)
        self.pending = self.pending[len(done) :]

    def draw(self, chance: random.Random, contents: Contents) -> bytes:
        """Return bytes that the file may have after a cut now."""
        if contents is Contents.MIXED:
            contents = chance.choice([each for each in Contents if each is not Contents.MIXED])
        if contents is Contents.LOST:
            return self.durable
        whole = apply(self.durable, self.pending)
        if contents is Contents.KEPT or not self.pending:
            return whole
        if contents is Contents.SHORT or chance.random() < 0.5:
            whole = apply(self.durable, _cut_short(chance, self.pending))
        if contents is Contents.SHORT:
            return whole
        old = self.durable[: len(whole)].ljust(len(whole), b"\0")
        starts = range(0, len(whole), SECTOR)
        kept = [contents is Contents.TORN and chance.random() < 0.5 for _ in starts]
        sides = ((whole if keep else old, start) for keep, start in zip(kept, starts, strict=True))
        return b"".join(side[start : start + SECTOR] for side, start in sides)


def apply(content: bytes, changes: Iterable[Change]) -> bytes:
    """Return a file's bytes after changes."""
    bytes_now = bytearray(content)
    for change in changes:
        end = change.offset if change.data is None else change.offset + len(change.data)
        if len(bytes_now) < end:
            bytes_now.extend(bytes(end - len(bytes_now)))
        if change.data is None:
            del bytes_now[change.offset :]
        else:
            bytes_now[change.offset : end] = change.data
    return bytes(bytes_now)


def _cut_short(chance: random.Random, changes: list[Change]) -> list[Change]:
    """Return changes up to one, and of that one some bytes."""
    whole = chance.randrange(len(changes))
    last = changes[whole]
    if last.data is None:
        return changes[:whole]
    some = last.data[: chance.randint(0, len(last.data))]
    return [*changes[:whole], last._replace(data=some)]


class Folder:
    """A folder, whatever its names."""

    def __init__(self) -> None:
        self.durable: dict[str, Node] = {}
        self.pending: list[tuple[float, dict[str, Node | None]]] = []
        """Names that change at once, with what they then stand for."""
        self.now: dict[str, Node] = {}

    def change(self, at_s: float, names: "dict[str, Node | None]") -> None:
        """Note names that change at once, in this order; None is no longer there."""
        self.pending.append((at_s, names))
        _set_names(self.now, names)

    def sync(self, before_s: float) -> None:
        """Make durable what was done before a moment."""
        done = [names for at_s, names in self.pending if at_s <= before_s]
        for names in done:
            _set_names(self.durable, names)
        self.pending = self.pending[len(done) :]

    def draw(self, chance: random.Random, kept: Names) -> "dict[str, Node]":
        """Return names that the folder may have after a cut now.

        Changes of the same name happen in order, others in any; a rename happens or does not.
        """
        names = dict(self.durable)
        undone: set[str] = set()
        for _, change in self.pending:
            lost = kept is Names.LOST or (kept is Names.SOME and chance.random() < 0.5)
            if lost or not undone.isdisjoint(change):
                undone |= change.keys()
            else:
                _set_names(names, change)
        return names


class Link(NamedTuple):
    """A symbolic link."""

    target: str


Node = File | Folder | Link


def _set_names(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Model:
    """A folder that was empty and durable, and all that is done below it."""

    def __init__(self, root: PurePosixPath) -> None:
        self._root = root
        self._top = Folder()

    def follow(self, calls: Iterable[Call]) -> "Model":
        """Do what calls did, in the order of their effect; what lies elsewhere is left out.

        Raises:
            ValueError: where something is renamed from one folder into another.
        """
        for call in calls:
            here = call.act.path == self._root and isinstance(call.act, Sync)
            if here or self._root in call.act.path.parents:
                self._do(call.began_s, call.act)
        return self

    def find(self, path: PurePosixPath) -> Node | None:
        """Return what a path stands for, for the processes that still run."""
        node: Node | None = self._top
        for part in path.relative_to(self._root).parts:
            node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def _do(self, at_s: float, act: Act) -> None:
        name, node = act.path.name, self.find(act.path)
        match act:
            case Sync():
                if isinstance(node, File | Folder):
                    node.sync(at_s)
            case Write(_, offset, data) if isinstance(node, File):
                node.change(at_s, offset, data)
            case Truncate(_, size) if isinstance(node, File):
                node.change(at_s, size, None)
            case Create() if node is None:
                self._folder(act.path).change(at_s, {name: File()})
            case MakeFolder():
                self._folder(act.path).change(at_s, {name: Folder()})
            case MakeLink(_, target):
                self._folder(act.path).change(at_s, {name: Link(target)})
            case Remove():
                self._folder(act.path).change(at_s, {name: None})
            case Rename(_, new):
                if new.parent != act.path.parent:
                    raise ValueError(f"renamed between folders: {act.path} to {new}")
                self._folder(new).change(at_s, {name: None, new.name: node})
            case _:
                pass

    def _folder(self, path: PurePosixPath) -> Folder:
        folder = self.find(path.parent)
        if not isinstance(folder, Folder):
            raise ValueError(f"no folder was seen to be made: {path.parent}")
        return folder

    def read(self, path: PurePosixPath) -> bytes | None:
        """Return the bytes of a file for the processes that still run, None where there is none."""
        node = self.find(path)
        return apply(node.durable, node.pending) if isinstance(node, File) else None

    def lay_out(
        self, target: Path, chance: random.Random, contents: Contents, names: Names
    ) -> None:
        """Write into a folder what may be there after a cut now."""
        bytes_of: dict[File, bytes] = {}
        self._lay_out(self._top, target, bytes_of, chance, contents, names)

    def _lay_out(
        self,
        folder: Folder,
        target: Path,
        bytes_of: dict[File, bytes],
        chance: random.Random,
        contents: Contents,
        kept: Names,
    ) -> None:
        for name, node in folder.draw(chance, kept).items():
            path = target / name
            if isinstance(node, Folder):
                path.mkdir()
                self._lay_out(node, path, bytes_of, chance, contents, kept)
            elif isinstance(node, Link):
                path.symlink_to(node.target)
            else:
                # A file with two names, as in the midst of a rename, has the same bytes under both.
                if node not in bytes_of:
                    bytes_of[node] = node.draw(chance, contents)
                path.write_bytes(bytes_of[node])
