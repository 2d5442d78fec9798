"""The virtual cluster of scripts/lab, as proofs use it: up and down, and suites that run in it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import RequestError
from bench.core.records import Row
from bench.store.files import JOURNAL_FILE
from bench.store.folder import open_run

STATE = Path(os.environ.get("CLUSTERBENCH_LAB") or "/run/clusterbench-lab")
ONE_LINK = {"OMPI_MCA_btl_tcp_if_include": "10.78.1.0/24"}
CROWDED = {
    **ONE_LINK,
    "OMPI_MCA_btl": "self,sm,tcp",
    # Many ranks on a few cores: one that waits must leave its core to the others.
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
"""Settings of Open MPI for several ranks on a host."""
CROSSING = {"OMPI_MCA_btl_tcp_flags": "send"}
"""Open MPI 5.0 else puts a whole large message into a socket at once, and its answer to a message
that comes the other way waits behind it: messages that cross take turns (docs/exchange.md)."""
_LAB = Path(__file__).parents[1] / "lab"
_TIMEOUT_S = 600


class Ran(NamedTuple):
    """What a run left."""

    rows: list[Row]
    journal: str
    """Its events, a line of JSON each."""


class Lab:
    """A lab with settings of MPI. Where it cannot be had, the proof ends with exit code 2."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)

    @contextlib.contextmanager
    def up(self, *options: str) -> Iterator[None]:
        """Have the hosts for a while; also where the proof is ended from outside they go."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self._call("up", *options)
        try:
            yield
        finally:
            self._call("down")

    def execute(self, *tokens: str, fails: bool = False) -> str:
        """Return what a command printed on the first host; with `fails` it may exit as it likes."""
        return self._call("exec", "h1", *tokens, fails=fails)

    def change(self, target: str, *settings: str) -> None:
        """Change links of a host."""
        self._call("set", target, *settings)

    def run(self, suite_text: str, settings: Mapping[str, str] | None = None) -> Ran:
        """Run a suite on all hosts, started on the first, with further settings of MPI."""
        with tempfile.TemporaryDirectory(prefix="clusterbench-proof-") as folder:
            suite = Path(folder, "proof.toml")
            suite.write_text(suite_text, encoding="utf-8")
            command = (sys.executable, "-m", "bench", "run", str(suite), "--bind", "none")
            output = ("-o", folder, "--no-report")
            where = ("--hostfile", str(STATE / "hostfile"))
            printed = self._call(
                "exec", "h1", *command, *where, *output, settings=settings, fails=True
            )
            try:
                run = open_run(Path(folder, "latest"))
                return Ran(run.rows(), (run.path / JOURNAL_FILE).read_text(encoding="utf-8"))
            except RequestError:
                print(f"clusterbench run left no run: {printed[-2000:]}", file=sys.stderr)
                sys.exit(2)

    def _call(
        self, *tokens: str, settings: Mapping[str, str] | None = None, fails: bool = False
    ) -> str:
        """Run scripts/lab; return what it printed. A run may fail: its rows have the reason."""
        answer = subprocess.run(
            [sys.executable, str(_LAB), *tokens],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self._settings, **(settings or {})},
            timeout=_TIMEOUT_S,
            check=False,
        )
        if answer.returncode and not fails:
            print(answer.stdout.strip(), file=sys.stderr)
            sys.exit(2)
        return answer.stdout


def payload_rate() -> float:
    """Return the bytes per second of TCP that the lab claims for a link."""
    claimed = tomllib.loads((STATE / "machine.toml").read_text())["payload_bytes_per_s"]
    return float(claimed)
