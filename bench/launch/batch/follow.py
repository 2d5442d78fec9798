"""Passes on the output of a batch job, which its script writes to files."""

import contextlib
import re
from pathlib import Path
from typing import BinaryIO

from bench.core.lines import Lines
from bench.launch.batch.queue import EXIT_MARKER

_EXIT_LINE = re.compile(rb"(.*)" + re.escape(EXIT_MARKER.encode()) + rb"(\d{1,3})\s*")
_READ_BYTES = 1 << 20


class Follower:
    """Passes on what is appended to a file, in whole lines."""

    def __init__(self, path: Path, sink: BinaryIO) -> None:
        self._path = path
        self._sink = sink
        self._place = 0
        self._lines = Lines()
        self.exit_status: int | None = None
        """From the last line of the script; None as long as it is not there."""

    def look(self) -> None:
        """Pass on what has come."""
        more = True
        while more:
            data = self._read_on()
            more = len(data) == _READ_BYTES
            for line in self._lines.add(data):
                self._pass_on(line)
        self._sink.flush()

    def _read_on(self) -> bytes:
        """Return some of what has come."""
        data = b""
        # Opened anew each time: that is when a network file system asks its server.
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read(_READ_BYTES)
        self._place += len(data)
        return data

    def _pass_on(self, line: bytes) -> None:
        last = _EXIT_LINE.fullmatch(line)
        if last:
            self.exit_status = int(last[2])
            line = last[1]
        if line or not last:
            self._sink.write(line + b"\n")

    def finish(self) -> None:
        """Pass on what has come, and a last line without its end."""
        self.look()
        if rest := self._lines.rest():
            self._sink.write(rest + b"\n")
            self._sink.flush()
