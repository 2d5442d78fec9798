"""A CSV file that may be torn, open for reading: it ends where its last whole row does."""

import io
from pathlib import Path
from typing import BinaryIO

from bench.core.errors import RequestError, printable
from bench.store.tail import whole_end


def open_whole_rows(path: Path) -> BinaryIO:
    """Open a CSV file up to its last whole row; an absent one is empty.

    Raises:
        RequestError: where it cannot be read, or a quote in it never ends.
    """
    try:
        end = whole_end(path.read_bytes())
        return io.BufferedReader(_Beginning(path, end), buffer_size=1 << 20)
    except FileNotFoundError:
        return io.BytesIO()
    except OSError as error:
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error
    except RequestError as error:
        raise RequestError(f"{printable(path, 400)}: {error}") from error


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
