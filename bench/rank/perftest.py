"""Programs of perftest (linux-rdma): verbs between two RDMA devices, without an MPI.

Options after its source at v4.5-0.17, whose programs call themselves 6.06, and at its head of
2026-07.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench.contracts import VerbsError, VerbsTest
from bench.machine.gpu import is_exclusive
from bench.machine.mpi import ask
from bench.machine.nic import PEER_MODULES
from bench.rank.perftest_table import last_words, parse_result
from bench.rank.rdma_port import Port, choose_port

PROGRAMS = {
    "write_bw": "ib_write_bw",
    "send_bw": "ib_send_bw",
    "write_lat": "ib_write_lat",
    "send_lat": "ib_send_lat",
}
TIMEOUT_S = 15.0
"""Of one program; with the time to listen below the silence after which a job counts as hanging."""
_LISTEN_TIMEOUT_S = 8.0
_LOOK_S = 0.005
_MOST_TEXT = 1 << 16
_LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""
_LOCAL = "127.0.0.1"
_CUDA_OPTION, _DMABUF_OPTION = "--use_cuda_bus_id", "--use_cuda_dmabuf"
_HELP_TIMEOUT_S = 5.0
_LEASH = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes a program that is killed with its parent, as a server waits for its client for ever. The
rank itself must run nothing between fork and exec: memory that a card reads does not take it."""


class Perftest:
    """Starts programs of perftest on the host of this rank.

    Args:
        numa: node of the rank's cores; None where it is not known.
        root: of the host's files.
        environ: of the programs.
    """

    def __init__(
        self,
        numa: int | None,
        root: Path = Path("/"),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._numa = numa
        self._root = root
        self._environ = dict(os.environ if environ is None else environ)
        self._helps: dict[str, str] = {}

    def lacks(self, asked: VerbsTest) -> str | None:
        """Return what a test needs that is not here, or None."""
        name = PROGRAMS[asked.test]
        program = self._find(name)
        if program is None:
            return f"needs {name}, of the package perftest"
        if self._choose(asked) is None:
            number = "" if asked.nic < 0 else f"; there is no number {asked.nic} of such"
            return f"needs an RDMA device with an active port (/sys/class/infiniband){number}"
        if asked.gpu is not None and _CUDA_OPTION not in self._options(program):
            return f"needs {name} built with CUDA (`{name} --help` names {_CUDA_OPTION})"
        if asked.gpu is not None and is_exclusive(asked.gpu):
            return (
                f"needs a GPU that {name} may open beside the rank, and its compute mode is "
                "EXCLUSIVE_PROCESS (`nvidia-smi -c DEFAULT` changes it)"
            )
        return None

    def serve(self, asked: VerbsTest, messages: int) -> "Server":
        """Start the end that waits, and return once it can be connected to.

        Raises:
            VerbsError: where it cannot.
        """
        number = _draw_port()
        server = Server(number, self._start(self._tokens(asked, messages, number, None)))
        try:
            server.wait_until_listening()
        except BaseException:
            server.kill()
            raise
        return server

    def measure(self, asked: VerbsTest, messages: int, server: str, number: int) -> float:
        """Return the seconds of one message, as the end reports that connects.

        Args:
            server: host of the end that waits; empty for this one.

        Raises:
            VerbsError: where it reports none.
        """
        where = server or _LOCAL
        process = self._start(self._tokens(asked, messages, number, where))
        return parse_result(process.finish(), asked.nbytes, messages)

    def device_name(self, asked: VerbsTest) -> str:
        """Return the device and its port as a row names them."""
        chosen = self._choose(asked)
        return "" if chosen is None else f"{chosen.device}:{chosen.port}"

    def distance(self, asked: VerbsTest) -> str | None:
        """Return how far the device is from the GPU, in the words of `nvidia-smi topo -m`."""
        chosen = self._choose(asked)
        return None if chosen is None else chosen.distance

    def _find(self, program: str) -> str | None:
        return shutil.which(program, path=self._environ.get("PATH"))

    def _choose(self, asked: VerbsTest) -> Port | None:
        return choose_port(self._root, self._numa, asked.nic, asked.gpu)

    def _options(self, program: str) -> str:
        """Return the help of a program, asked once."""
        if program not in self._helps:
            answer = ask((program, "--help"), _HELP_TIMEOUT_S, self._environ)
            self._helps[program] = answer.stdout[:_MOST_TEXT] if answer else ""
        return self._helps[program]

    def _tokens(
        self, asked: VerbsTest, messages: int, number: int, server: str | None
    ) -> tuple[str, ...]:
        chosen, program = self._choose(asked), self._find(PROGRAMS[asked.test])
        if chosen is None or program is None:
            raise VerbsError(self.lacks(asked) or "nothing to start")
        gid = () if chosen.gid is None else ("--gid-index", str(chosen.gid))
        # Without, memory is kept for the time of every message, to find a peak nobody asks for.
        peak = ("--noPeak",) if asked.test.endswith("_bw") else ()
        return (
            program,
            *("--ib-dev", chosen.device, "--ib-port", str(chosen.port), *gid),
            *("--port", str(number), "--size", str(asked.nbytes), "--iters", str(messages)),
            *("--CPU-freq", *peak, *self._memory(program, asked.gpu)),
            *(() if server is None else (server,)),
        )

    def _memory(self, program: str, gpu: str | None) -> tuple[str, ...]:
        """Return the options for a GPU's memory: by dma-buf where no module hands it to a card."""
        if gpu is None:
            return ()
        module = any((self._root / "sys/module" / name).is_dir() for name in PEER_MODULES)
        by_buffer = not module and _DMABUF_OPTION in self._options(program)
        return (_CUDA_OPTION, gpu, *((_DMABUF_OPTION,) if by_buffer else ()))

    def _start(self, tokens: tuple[str, ...]) -> "_Process":
        return _Process(tokens, self._environ)


class Server:
    """The end that waits for the other one."""

    def __init__(self, number: int, process: "_Process") -> None:
        self.number = number
        """Its TCP port."""
        self._process = process

    def wait_until_listening(self) -> None:
        """Look for its socket: what it prints stays in its buffer until it ends.

        Raises:
            VerbsError: where it ends before, or is not there in time.
        """
        until_s = time.monotonic() + _LISTEN_TIMEOUT_S
        while not is_listening(self.number):
            if self._process.has_ended():
                self._process.finish()
                raise VerbsError("the end that waits ended before anybody came")
            if time.monotonic() > until_s:
                raise VerbsError(f"the end that waits did not listen in {_LISTEN_TIMEOUT_S:.0f} s")
            time.sleep(_LOOK_S)

    def finish(self) -> None:
        """Wait, without using the core, until it has ended; the other end has the result."""
        with contextlib.suppress(VerbsError):
            self._process.finish()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()


class _Process:
    """One program, on a leash, whose output goes to a file: a pipe could fill up."""

    def __init__(self, tokens: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._program = Path(tokens[0]).name
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        try:
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-c", _LEASH, str(os.getpid()), *tokens),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=environ,
            )
        except OSError as error:
            self._output.close()
            raise VerbsError(f"{self._program} does not start: {error}") from error

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def finish(self) -> str:
        """Wait for its end and return what it printed; raises VerbsError where it failed."""
        try:
            status = self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise VerbsError(f"{self._program} did not end in {TIMEOUT_S:.0f} s") from error
        finally:
            text = self.kill()
        if status:
            reason = last_words(text)
            raise VerbsError(f"{self._program} ended with {status}: {reason or 'no word'}")
        return text

    def kill(self) -> str:
        """End it where it has not; return what it had printed."""
        self._process.kill()
        self._process.wait()
        if self._output.closed:
            return ""
        self._output.seek(0)
        text = self._output.read(_MOST_TEXT).decode(errors="replace")
        self._output.close()
        return text


def _draw_port() -> int:
    """Return a TCP port that nobody listens on just now."""
    with socket.socket() as drawn:
        drawn.bind(("", 0))
        return int(drawn.getsockname()[1])


def is_listening(number: int, tables: Callable[[], Iterable[str]] | None = None) -> bool:
    """Return whether somebody listens on a TCP port of this host."""
    for line in (tables or _read_sockets)():
        words = line.split()
        if len(words) > 3 and words[3] == _LISTENING and words[1].endswith(f":{number:04X}"):
            return True
    return False


def _read_sockets() -> Iterable[str]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            yield from Path("/proc/self/net", name).read_text(encoding="ascii").splitlines()
