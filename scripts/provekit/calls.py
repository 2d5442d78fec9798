"""What a traced process asked of the file system, as records, in the order of their effect."""

from pathlib import PurePosixPath

import msgspec


class Create(msgspec.Struct, frozen=True):
    """A file is there; one that was there before stays."""

    path: PurePosixPath


class Truncate(msgspec.Struct, frozen=True):
    """A file ends after so many bytes; what it lacks is zero."""

    path: PurePosixPath
    size: int


class Write(msgspec.Struct, frozen=True):
    """Bytes of a file; appended where there is no offset."""

    path: PurePosixPath
    offset: int | None
    data: bytes


class MakeFolder(msgspec.Struct, frozen=True):
    """A folder is there."""

    path: PurePosixPath


class MakeLink(msgspec.Struct, frozen=True):
    """A symbolic link is there."""

    path: PurePosixPath
    target: str


class Rename(msgspec.Struct, frozen=True):
    """What had one name has another, in the same folder."""

    path: PurePosixPath
    new: PurePosixPath


class Remove(msgspec.Struct, frozen=True):
    """A name is gone."""

    path: PurePosixPath


class Sync(msgspec.Struct, frozen=True):
    """What was done to a file, or to the names in a folder, before the call began is durable."""

    path: PurePosixPath


Act = Create | Truncate | Write | MakeFolder | MakeLink | Rename | Remove | Sync


class Call(msgspec.Struct, frozen=True):
    """An act, with the seconds when its call began and when it had returned."""

    began_s: float
    ended_s: float
    act: Act

    @property
    def at_s(self) -> float:
        """When it has its effect.

        A write may be on the disk as soon as its call has begun, but nothing is durable before the
        call that makes it so has returned.
        """
        return self.ended_s if isinstance(self.act, Sync) else self.began_s
