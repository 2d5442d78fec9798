"""JSON files of a run: whole ones, and those with a record on each line."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.core.errors import RequestError, printable
from bench.store.files import whole_lines

Kind = TypeVar("Kind")


def pretty(value: object) -> bytes:
    """Return a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def decode_file(path: Path, kind: type[Kind]) -> Kind:
    """Return what a JSON file of a run holds.

    Raises:
        RequestError: where it cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(path, error) from error


def read_lines(path: Path, kind: type[Kind]) -> Iterator[Kind]:
    """Yield the records of a file of JSON lines as far as it was written; an absent one has none.

    Raises:
        RequestError: where it cannot be read, or a line is damaged.
    """
    decoder = msgspec.json.Decoder(kind)
    try:
        for line in whole_lines(path):
            yield decoder.decode(line)
    except FileNotFoundError:
        return
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(path, error) from error


def encode_lines(records: Iterable[object]) -> bytes:
    """Return records as JSON, one on each line."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def unreadable(path: Path, error: Exception) -> RequestError:
    """Return the line that says that a file of a run cannot be read."""
    return RequestError(f"{printable(path, 400)} cannot be read: {printable(error, 200)}")
