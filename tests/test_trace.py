"""What strace tells of a process is what it did to its files."""

import shutil
import sys
from pathlib import Path, PurePosixPath

import pytest
from conftest import refuse

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
trace = pytest.importorskip("provekit.trace")
from provekit.after_cut import File, Model  # noqa: E402
from provekit.calls import Create, Rename, Sync, Truncate, Write  # noqa: E402

PROGRAM = """
import os, subprocess, sys, threading
from pathlib import Path
top = Path(sys.argv[1])
(top / "run" / "logs").mkdir(parents=True)
temporary = top / "run" / ".whole"
with temporary.open("wb") as file:
    file.write(bytes(range(256)) * 20)
    file.seek(100)
    file.write(b"over")
    file.flush()
    os.fsync(file.fileno())
temporary.rename(top / "run" / "whole")
(top / "latest").symlink_to("run")
rows = os.open(top / "run" / "rows", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
os.write(rows, b"one\\ntwo\\n")
thread = threading.Thread(target=os.fdatasync, args=(rows,))
thread.start()
thread.join()
os.write(rows, "dr\\N{LATIN SMALL LETTER E WITH ACUTE}i \\"<3\\n".encode())
os.ftruncate(rows, 10)
os.pwrite(os.open(top / "run" / "whole", os.O_RDWR), b"in place", 200)
with (top / "run" / "logs" / "child.log").open("ab") as log:
    subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=log)
(top / "run" / "gone").write_text("x")
(top / "run" / "gone").unlink()
os.truncate(top / "run" / "whole", 4000)
folder = os.open(top / "run", os.O_RDONLY)
os.fsync(folder)
os.mkdir("below", dir_fd=folder)
"""


def traced(program: str, tmp_path: Path) -> "Model":
    if shutil.which("strace") is None:
        refuse("no strace; on Debian: apt install strace")
    calls, top = tmp_path / "calls", tmp_path / "top"
    calls.mkdir()
    top.mkdir()
    code = trace.trace([sys.executable, "-c", program, str(top)], calls, tmp_path)
    assert code == 0, (calls / "output.log").read_text()
    return Model(PurePosixPath(top)).follow(trace.read_calls(calls, top))


def test_the_model_of_a_traced_process_is_what_it_left(tmp_path):
    model = traced(PROGRAM, tmp_path)
    left = sorted((tmp_path / "top").rglob("*"))
    assert len(left) == 7
    for path in left:
        node = model.find(PurePosixPath(path))
        assert node is not None, path
        if path.is_file() and not path.is_symlink():
            assert model.read(PurePosixPath(path)) == path.read_bytes(), path
    rows = model.find(PurePosixPath(tmp_path / "top" / "run" / "rows"))
    assert isinstance(rows, File)
    assert rows.durable == b"one\ntwo\n"


def test_a_killed_process_leaves_what_it_did(tmp_path):
    if shutil.which("strace") is None:
        refuse("no strace; on Debian: apt install strace")
    top, file = tmp_path / "top", tmp_path / "top" / "file"
    top.mkdir()
    program = f"f = open({str(file)!r}, 'wb', 0); f.write(b'x'); import time; time.sleep(600)"
    command = [sys.executable, "-c", program]
    code = trace.trace(command, tmp_path, tmp_path, lambda: file.exists() and file.stat().st_size)
    assert code != 0
    assert (
        Model(PurePosixPath(top)).follow(trace.read_calls(tmp_path, top)).read(PurePosixPath(file))
        == b"x"
    )


@pytest.mark.parametrize("call", ["os.link(a, a + '2')", "os.writev(file, [b'x'])"])
def test_what_the_model_does_not_have_is_refused(call, tmp_path):
    start = "import os, sys; a = sys.argv[1] + '/a'; file = os.open(a, os.O_WRONLY | os.O_CREAT)"
    program = f"{start}; {call}"
    with pytest.raises(ValueError, match="the model has no"):
        traced(program, tmp_path)


def told(text: str) -> str:
    """Return strings and paths as strace writes them by -xx."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


PATH = PurePosixPath("/top/file")
FILE = f"<{told('/top/file')}>"
FOLDER = f"5<{told('/top')}>"


def opening(name: str, asked: str, result: str) -> str:
    """Return the line of a file that is opened."""
    return f'openat(AT_FDCWD<{told("/")}>, "{told(f"/top/{name}")}", {asked}) = {result} <0.1>'


LINES = [
    (opening("file", "O_WRONLY|O_CREAT", f"3{FILE}"), [Create(PATH)]),
    (opening("file", "O_RDWR|O_TRUNC", f"3{FILE}"), [Truncate(PATH, 0)]),
    (opening("file", "O_RDONLY|O_CLOEXEC", f"3{FILE}"), []),
    (opening("none", "O_WRONLY", "-1 ENOENT (No such file or directory)"), []),
    (f'write(3{FILE}, "{told("abc")}", 3) = 2 <0.1>', [Write(PATH, None, b"ab")]),
    (f'write(3{FILE}(deleted), "{told("abc")}", 3) = 3 <0.1>', []),
    (f'write(3{FILE}, "{told("abc")}", 3 <unfinished ...>) = ?', []),
    (f"fdatasync(3{FILE}) = 0 <2.5>", [Sync(PATH)]),
    (f"fsync(3{FILE}) = -1 EIO (Input/output error) <0.1>", []),
    (
        f'renameat({FOLDER}, "{told("a")}", {FOLDER}, "{told("file")}") = 0 <0.1>',
        [Rename(PurePosixPath("/top/a"), PATH)],
    ),
    (f"fsync(3<{told('/elsewhere')}>) = 0 <0.1>", []),
]


@pytest.mark.parametrize(("line", "acts"), LINES)
def test_lines_are_read_as_they_are_meant(line, acts, tmp_path):
    (tmp_path / "calls.1").write_text(f"100.000000 {line}\n", encoding="ascii")
    calls = trace.read_calls(tmp_path, Path("/top"))
    assert [call.act for call in calls] == acts
    assert all(call.at_s == (102.5 if isinstance(call.act, Sync) else 100.0) for call in calls)


@pytest.mark.parametrize(
    "line",
    [
        f'write(3{FILE}, "{told("abc")}"..., 30) = 30 <0.1>',
        f"write(3{FILE}, what is this",
        f'rename("{told("/top/a")}", "{told("/top/b")}", RENAME_EXCHANGE) = 0 <0.1>',
    ],
)
def test_lines_that_cannot_be_read_are_refused(line, tmp_path):
    (tmp_path / "calls.1").write_text(f"100.000000 {line}\n", encoding="ascii")
    with pytest.raises(ValueError, match=r"strace|model"):
        trace.read_calls(tmp_path, Path("/top"))


def test_what_a_killed_process_left_is_forced_to_the_disk_by_whoever_goes_on(tmp_path):
    program = """
import sys
from pathlib import Path
from bench.store.files import Appender
path = Path(sys.argv[1], "rows")
path.write_text("left behind\\n")
rows = Appender(path)
rows.sync()
"""
    model = traced(program, tmp_path)
    rows = model.find(PurePosixPath(tmp_path / "top" / "rows"))
    assert isinstance(rows, File)
    assert rows.durable == b"left behind\n"
