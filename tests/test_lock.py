"""One writer for a run: of this host, of another one, and of one that is gone."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from bench.core.clock import utc_text
from bench.core.errors import RequestError
from bench.store import lock
from bench.store.files import LOCK_FILE
from bench.store.lock import YOUNG_S, Holder, lock_run

HOLD = """
import sys
from pathlib import Path
from bench.store.lock import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def write_holder(folder: Path, host: str, age_s: float, pid: int = 7) -> None:
    holder = Holder(host, pid, utc_text(time.time() - age_s))
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(holder))


def test_the_kernel_has_a_posix_lock_on_a_regular_file(tmp_path):
    with lock_run(tmp_path):
        inode = (tmp_path / LOCK_FILE).stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
        (mine,) = (line for line in locks if f" {os.getpid()} " in line and f":{inode} " in line)
        assert re.search(r"POSIX\s+ADVISORY\s+WRITE", mine)
        assert "FLOCK" not in mine
        assert (tmp_path / LOCK_FILE).is_file()


@pytest.mark.parametrize("how", ["in order", "killed"])
def test_a_second_process_is_refused_until_the_first_is_gone(how, tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with first:
        assert first.stdout.readline() == b"held\n"
        words = f"another clusterbench.*process {first.pid} on {socket.gethostname()}"
        with pytest.raises(RequestError, match=words), lock_run(tmp_path):
            pass
        if how == "killed":
            first.kill()
        else:
            first.stdin.close()
        first.wait()
    assert bool((tmp_path / LOCK_FILE).read_bytes()) == (how == "killed")
    with lock_run(tmp_path):
        pass


def test_a_refused_try_of_the_same_process_leaves_the_lock_in_place(tmp_path):
    with lock_run(tmp_path):
        with pytest.raises(RequestError, match="another clusterbench"), lock_run(tmp_path):
            pass
        done = subprocess.run(
            [sys.executable, "-c", HOLD, tmp_path], input=b"", capture_output=True, check=False
        )
        assert b"another clusterbench" in done.stderr


@pytest.mark.parametrize("age_s", [-3600.0, 0.0, YOUNG_S / 2])
def test_a_young_sign_of_life_of_another_host_refuses(age_s, tmp_path):
    write_holder(tmp_path, "node7", age_s)
    with pytest.raises(RequestError, match=r"process 7 on node7.*wait"), lock_run(tmp_path):
        pass


def test_an_old_one_is_named_with_the_way_out_which_works(tmp_path):
    write_holder(tmp_path, "node7", 2 * YOUNG_S)
    refusal = pytest.raises(RequestError, match=rf"process 7 on node7.*remove .*{LOCK_FILE}")
    with refusal, lock_run(tmp_path):
        pass
    (tmp_path / LOCK_FILE).unlink()
    with lock_run(tmp_path):
        pass


def test_what_a_killed_process_of_this_host_left_is_taken_over(tmp_path):
    write_holder(tmp_path, socket.gethostname(), 0.0, pid=os.getpid())
    with lock_run(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"{", b'{"host": 1}', b"[" * 5000])
def test_a_file_that_tells_nothing_is_nobodys(content, tmp_path):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with lock_run(tmp_path):
        pass


@pytest.mark.parametrize("pid", [os.getppid(), 2**22 + 1])
def test_without_locks_the_file_tells_who_lives(pid, tmp_path, monkeypatch):
    """A file system that has no locks, as Lustre without -o flock."""

    def no_locks(*_args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "lockf", no_locks)
    write_holder(tmp_path, socket.gethostname(), 0.0, pid=pid)
    lives = pid == os.getppid()
    with pytest.raises(RequestError) if lives else nullcontext(), lock_run(tmp_path):
        pass


def test_signs_of_life_go_on_and_end(tmp_path, monkeypatch):
    def content():
        # Read by another process: this one would drop the lock by closing the file.
        command = ["cat", tmp_path / LOCK_FILE]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with lock_run(tmp_path) as held:
        first = content()
        time.sleep(0.02)
        held.beat()
        second = content()
    assert Holder(**first).pid == Holder(**second).pid == os.getpid()
    assert first["alive_utc"] < second["alive_utc"]
    assert (tmp_path / LOCK_FILE).read_bytes() == b""


def test_a_lock_file_that_leads_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "other")
    with pytest.raises(RequestError, match="cannot be written"), lock_run(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "precious"
