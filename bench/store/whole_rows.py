"""A CSV file that may be torn, open for reading: it ends where its last whole row does."""

import io
from pathlib import Path
from typing import BinaryIO

from bench.core.errors import RequestError, printable
from bench.store.tail import whole_end

_PIECE_BYTES = 1 << 20


def open_whole_rows(path: Path) -> BinaryIO:
    """Open a CSV file up to its last whole row; an absent one is empty.

    Raises:
        RequestError: where it cannot be read, or a quote in it never ends.
    """
    try:
        end = _find_end(path)
        return io.BufferedReader(_Beginning(path, end), buffer_size=1 << 20)
    except FileNotFoundError:
        return io.BytesIO()
    except OSError as error:
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error
    except RequestError as error:
        raise RequestError(f"{printable(path, 400)}, {error}") from error


def _find_end(path: Path) -> int:
    """Return where the last whole row ends, in pieces unless a quote is open there."""
    size = end = quotes = quotes_before_end = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            piece, zero, _ = piece.partition(b"\0") if b"\0" in piece else (piece, b"", b"")
            behind = piece.rfind(b"\n") + 1
            if behind:
                end = size + behind
                quotes_before_end = quotes + piece.count(b'"', 0, behind)
            size += len(piece)
            quotes += piece.count(b'"')
            if zero:
                break
    return end if quotes_before_end % 2 == 0 else whole_end(path.read_bytes())


class _Beginning(io.RawIOBase):
    """The beginning of a file that others may append to."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
