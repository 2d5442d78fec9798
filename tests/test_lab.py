"""The virtual cluster: links of the rates they are described with, hosts that reach each other.

Run it with `-rP` to see the measured rates.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from controls import ADDRESSES, join_by_reference

from bench.machine.mpi import find_mpi

ROOT = Path(__file__).parent.parent
LAB = str(ROOT / "scripts" / "lab")
STATE = Path(os.environ["CLUSTERBENCH_LAB"])
TIMEOUT_S = 600
"""A guard against what hangs, and no claim."""
TWO_FRAMES = 2 * 9038
RATES = ("50mbit", "400mbit", "1gbit")
UNITS = {"mbit": 1e6, "gbit": 1e9}
MOST_PAIRS = 8
"""Of a stream and its control."""
LIKE_CONTROL = 0.9
"""A link that is really slower carries less than this share of its control in every pair; one that
others disturb does so only where they pause for the control each time."""

pytestmark = pytest.mark.lab

STREAM = """
import socket, sys, time
role, address, total = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "send":
    piece = memoryview(bytes(1 << 20))
    with socket.create_connection((address, 5201), 60) as stream:
        begun = time.monotonic()
        for at in range(0, total, len(piece)):
            stream.sendall(piece[: total - at])
        stream.recv(1)
        print(begun)
else:
    with socket.create_server((address, 5201)) as server:
        server.settimeout(60)
        print("listening", flush=True)
        stream, _ = server.accept()
        stream.settimeout(60)
        received = 0
        while received < total:
            received += len(stream.recv(1 << 17))
        print(time.monotonic())
"""
"""Sends bytes from one host to another; both print the time, which is one for all hosts: the sender
that of its first byte, the receiver that of its last."""

PING_PONG = """
import socket, sys, time
role, address, size, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), 8
def receive():
    left = size
    while left:
        left -= len(stream.recv(left))
if role == "send":
    stream = socket.create_connection((address, 5201), 60)
    begin = time.monotonic()
    for _ in range(rounds):
        stream.sendall(bytes(size))
        receive()
    print((time.monotonic() - begin) / rounds / 2)
else:
    server = socket.create_server((address, 5201))
    print("listening", flush=True)
    stream, _ = server.accept()
    for _ in range(rounds):
        receive()
        stream.sendall(bytes(size))
"""
"""Sends a message to and fro; the sender prints half a round trip in seconds."""

ALLGATHER = """
from mpi4py import MPI
print(MPI.COMM_WORLD.allgather(MPI.Get_processor_name()))
"""


def lab(
    *tokens: object, env: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, LAB, *map(str, tokens)]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=env,
    )


def on(host: str, *tokens: object) -> str:
    """Return what a command on a host prints."""
    answer = lab("exec", host, *tokens)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@contextmanager
def lab_up(*options: str) -> Iterator[None]:
    answer = lab("up", *options)
    assert answer.returncode == 0, answer.stderr
    try:
        yield
    finally:
        down = lab("down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="module", autouse=True)
def lab_possible(lab_alone: None) -> None:
    """Skip, with the reason, where no lab can be made; on CI a missing program is a failure."""
    separate = ["unshare", "--net", "--mount", "true"]
    if shutil.which("unshare") and subprocess.run(separate, capture_output=True).returncode != 0:
        pytest.skip("this root may make no network namespaces: a container without privileges")
    if STATE.exists():
        pytest.skip("a lab is up; scripts/lab down removes it")
    answer = lab("up", "--hosts", "2", "--rate", "400mbit")
    if answer.returncode == 0:
        lab("down")
    if "apt install" in answer.stderr:
        reason = answer.stderr.strip()
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="class")
def plain() -> Iterator[None]:
    with lab_up("--hosts", "3", "--rate", "400mbit"):
        yield


@contextmanager
def listener(program: str, host: str, address: str, *arguments: object) -> Iterator[list[str]]:
    """Run the receiver of a program; its output is there when the sender has ended."""
    python = [sys.executable, LAB, "exec", host, sys.executable, "-c", program, "listen", address]
    command = [*python, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "listening\n"
            printed: list[str] = []
            yield printed
            printed += process.stdout.readlines()
        finally:
            process.kill()


def stream(source: str, target: str, seconds: float, expected: float, link: int = 1) -> float:
    """Return the payload bytes/s that a host sends to another, as a share of what is expected.

    From before the first byte is sent until the last one is there, so that whatever others do on
    this machine can only make it smaller.
    """
    return stream_to(source, target, f"10.78.{link}.{target[1:]}", seconds, expected)


def stream_to(source: str, target: str, address: str, seconds: float, expected: float) -> float:
    total = int(seconds * expected)
    with listener(STREAM, target, address, total) as printed:
        begun = float(on(source, sys.executable, "-c", STREAM, "send", address, total))
    return total / (float(printed[0]) - begun) / expected


def payload() -> float:
    """Return the payload bytes/s that the lab claims for a link."""
    claimed = tomllib.loads((STATE / "machine.toml").read_text())["payload_bytes_per_s"]
    assert isinstance(claimed, float)
    return claimed


@contextmanager
def lab_beside_reference(rate: str, mtu: int, *options: str) -> Iterator[Callable[[], float]]:
    """Have a lab, and return what measures the share that its reference link carries."""
    with lab_up("--hosts", "3", "--rate", rate, "--mtu", str(mtu), *options):
        join_by_reference(bits_per_s(rate), mtu, os.cpu_count() or 1)
        yield lambda: stream_to("h1", "h2", ADDRESSES["h2"], 0.5, payload_of(rate, mtu))


def bits_per_s(rate: str) -> float:
    return float(rate[:-4]) * UNITS[rate[-4:]]


def payload_of(rate: str, mtu: int) -> float:
    """Return what TCP carries, in bytes/s: 52 bytes of a packet are no payload, 38 are added."""
    return bits_per_s(rate) / 8 * (mtu - 52) / (mtu + 38)


def check_share(
    measure: Callable[[], float], control: Callable[[], float], tolerance: float = 0.03
) -> list[float]:
    """Measure until a link carries its rate, each time with a control at the same moment.

    A link cannot be busy while no CPU serves it in time, and others use this machine: where its
    control was as slow in any of the pairs, there is no answer. No link carries more than its rate,
    whatever the others do.
    """
    shares: list[float] = []
    controls: list[float] = []
    while len(shares) < MOST_PAIRS:
        shares.append(measure())
        assert shares[-1] < 1 + tolerance, "faster than its rate"
        if shares[-1] > 1 - tolerance:
            return shares
        controls.append(control())
    seen = f"shares of the expected rate: {rounded(shares)}, of the control: {rounded(controls)}"
    nearest = max(share / beside for share, beside in zip(shares, controls, strict=True))
    if nearest > LIKE_CONTROL:
        pytest.skip(f"this machine carries no such rate now; {seen}")
    pytest.fail(seen)


def rounded(shares: list[float]) -> list[float]:
    return [round(share, 3) for share in shares]


# What a link carries.


@pytest.mark.parametrize("mtu", [9000, 1500])
@pytest.mark.parametrize("rate", RATES)
def test_a_link_carries_its_payload_rate(rate: str, mtu: int) -> None:
    with lab_beside_reference(rate, mtu) as control:
        expected = payload_of(rate, mtu)
        assert payload() == pytest.approx(expected, rel=1e-6)
        # Slow enough for the machine, the rate shows whether all bytes of a frame are counted.
        tolerance = 0.01 if rate == "50mbit" else 0.03
        shares = check_share(lambda: stream("h1", "h2", 0.5, expected), control, tolerance)
    print(f"| {rate} | {mtu} | {expected / 1e6:.2f} MB/s | {shares[-1]:.4f} | {len(shares)} |")


def test_a_wrong_rate_is_seen_beside_its_control() -> None:
    """What the tests above could miss, were they only patient."""
    with lab_beside_reference("100mbit", 9000, "--slow", "h2:rx=80%") as control:
        with pytest.raises(pytest.fail.Exception, match=r"shares .* of the control"):
            check_share(lambda: stream("h1", "h2", 0.2, payload()), control)
        assert lab("set", "h2:rx", "rate=100mbit").returncode == 0
        with pytest.raises(AssertionError, match="faster than its rate"):
            check_share(lambda: stream("h1", "h2", 0.5, 0.8 * payload()), control)


def test_a_slow_way_is_slow_in_one_direction_and_no_file_shows_it() -> None:
    def read_all() -> dict[str, str]:
        files = [STATE / "hostfile", STATE / "machine.toml", STATE / "etc" / "hosts"]
        return {file.name: file.read_text() for file in files} | {
            "speed": on("h3", "cat", "/sys/class/net/eth1/speed")
        }

    with lab_up("--hosts", "3", "--rate", "100mbit", "--mtu", "9000"):
        honest = read_all()
        expected = payload()
    with lab_beside_reference("100mbit", 9000, "--slow", "h3:tx=37%") as control:
        assert read_all() == honest
        for file in STATE.rglob("*"):
            if file.is_file() and not os.path.ismount(file):  # a namespace is no text
                assert not {b"37%", b"37000000", b"37mbit"} & set(file.read_bytes().split())
        assert "37" not in on("h3", "env")
        check_share(lambda: stream("h3", "h1", 0.4, expected * 0.37), control)
        check_share(lambda: stream("h1", "h3", 0.4, expected), control)
        check_share(lambda: stream("h1", "h2", 0.4, expected), control)
        lines = lab("status").stdout.splitlines()
    assert any(
        line.split() == ["h3", "eth1", "10.78.1.3", "up", "9000", "37", "100"] for line in lines
    )


def test_a_link_changes_while_the_lab_is_up() -> None:
    with lab_beside_reference("100mbit", 9000) as control:
        full = payload()
        assert lab("set", "h2:rx", "rate=50%").returncode == 0
        check_share(lambda: stream("h1", "h2", 0.4, full / 2), control)
        check_share(lambda: stream("h2", "h1", 0.4, full), control)
        assert lab("set", "h2", "rate=100mbit", "mtu=1500").returncode == 0
        assert on("h2", "cat", "/sys/class/net/eth1/mtu") == "1500\n"
        check_share(lambda: stream("h1", "h2", 0.4, payload_of("100mbit", 1500)), control)
        ssh = ("ssh", "-o", "ConnectTimeout=1", "h2", "hostname")
        assert lab("set", "h2", "down").returncode == 0
        assert lab("exec", "h1", *ssh).returncode == 255
        assert on("h2", "cat", "/sys/class/net/eth1/carrier") == "0\n"
        assert lab("set", "h2", "up").returncode == 0
        assert on("h1", "ssh", "h2", "hostname") == "h2\n"


def test_two_links_carry_traffic_of_their_own() -> None:
    options = ("--links", "2", "--slow", "h2.2=40mbit")
    with lab_beside_reference("100mbit", 9000, *options) as control:
        full = payload()
        check_share(lambda: stream("h1", "h2", 0.4, full, link=1), control)
        check_share(lambda: stream("h1", "h2", 0.4, full * 0.4, link=2), control)
        assert on("h1", "getent", "hosts", "h2-2").split() == ["10.78.2.2", "h2-2"]
        assert lab("set", "h2.1", "down").returncode == 0
        check_share(lambda: stream("h1", "h2", 0.4, full * 0.4, link=2), control)


# Hosts.


@pytest.mark.usefixtures("plain")
class TestLab:
    """One lab of three hosts, which no test changes."""

    def test_a_ping_pong_is_no_faster_than_the_wire(self) -> None:
        """Where a link may save up 256 kB, a message of 256 KiB takes half the time."""
        size = 256 * 1024
        with listener(PING_PONG, "h2", "10.78.1.2", size):
            seconds = float(on("h1", sys.executable, "-c", PING_PONG, "send", "10.78.1.2", size))
        assert seconds > (size - TWO_FRAMES) / payload()

    def test_hosts_reach_each_other_without_questions(self) -> None:
        for target in ("h2", "h3", "h2-1", "10.78.1.2"):
            assert on("h1", "ssh", target, "hostname") == f"{target[:2].replace('10', 'h2')}\n"
        assert on("h2", "ssh", "h3", "ssh", "h1", "hostname") == "h1\n"

    def test_a_host_has_its_own_network_name_and_memory(self) -> None:
        kinds = ("net", "uts", "ipc", "mnt")
        links = [f"/proc/self/ns/{kind}" for kind in kinds]
        here = [str(Path(link).readlink()) for link in links]
        hosts = [on(host, "readlink", *links).split() for host in ("h1", "h2")]
        assert all(len({*same}) == 3 for same in zip(here, *hosts, strict=True))
        assert sorted(on("h1", "ls", "/sys/class/net").split()) == ["eth1", "lo"]
        assert on("h1", "ls", "/dev/shm") == ""  # noqa: S108
        assert Path("/proc/sys/kernel/hostname").read_text() != "h1\n"

    def test_a_command_keeps_folder_environment_and_exit_code(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CARRIED", "a b")
        printed = on("h2", "sh", "-c", 'pwd; echo "$CARRIED"; echo "$HOME"')
        assert printed.splitlines() == [str(tmp_path), "a b", str(STATE / "home")]
        assert lab("exec", "h2", "--", "sh", "-c", "exit 7").returncode == 7

    def test_only_the_key_of_the_lab_opens_a_host(self) -> None:
        """Neither a password nor another key, and from nowhere but the lab."""
        password = ("-o", "BatchMode=yes", "-o", "PubkeyAuthentication=no")
        refused = lab("exec", "h1", "ssh", *password, "h2", "true")
        assert refused.returncode == 255
        assert "Permission denied (publickey)" in refused.stderr
        listening = on("h1", "cat", "/proc/net/tcp", "/proc/net/tcp6")
        ends = [line.split()[1] for line in listening.splitlines() if " 0A " in line]
        assert ends == ["01014E0A:0016"]  # 10.78.1.1:22
        assert STATE.stat().st_mode & 0o777 == 0o700

    @pytest.mark.mpi
    def test_mpi_jobs_span_hosts(self) -> None:
        mpi = find_mpi()
        assert mpi is not None
        options = ["-bind-to", "none", "-launcher", "ssh", "-hosts", "h1,h2,h3", "-ppn", "1"]
        if mpi.family == "openmpi":
            options = ["--bind-to", "none", "--allow-run-as-root", "--host", "h1:1,h2:1,h3:1"]
            options += ["--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "10.78.1.0/24"]
        printed = on("h1", mpi.mpirun, "-n", 3, *options, sys.executable, "-c", ALLGATHER)
        assert printed.splitlines() == [str(["h1", "h2", "h3"])] * 3

    @pytest.mark.parametrize(
        ("tokens", "advice"),
        [
            ("exec h4 true", "h1 to h3"),
            ("exec h1", "bash"),
            ("set h1 rate=fast", "400mbit"),
            ("set h1 mtu=big", "576 to 9000"),
            ("set h1:tx down", "without :tx"),
            ("set h1 sideways", "mtu=1500"),
            ("set -oProxyCommand=x down", "--help"),
        ],
    )
    def test_a_bad_change_changes_nothing(self, tokens: str, advice: str) -> None:
        before = lab("status").stdout
        answer = lab(*tokens.split())
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert advice in answer.stderr
        assert lab("status").stdout == before


def test_a_lab_has_the_rate_that_a_machine_file_gives_its_links(tmp_path: Path) -> None:
    file = tmp_path / "machine.toml"
    file.write_text('nodes = 2\nnode.nic = { line = "12.5 MB/s", mtu = 1500 }\n')
    with lab_up("--machine", str(file)):
        assert "100" in lab("status").stdout
        assert "rate_bits_per_s = 100000000" in (STATE / "machine.toml").read_text()


def test_hosts_of_one_name_are_different_hosts() -> None:
    with lab_up("--hosts", "2", "--rate", "400mbit", "--hostname", "same"):
        hosts = (STATE / "hostfile").read_text().split()
        addresses = (STATE / "addresses").read_text().split()
        assert (hosts, addresses) == (["h1", "h2"], ["10.78.1.1", "10.78.1.2"])
        for host, address in zip(hosts, addresses, strict=True):
            assert on(host, "hostname") == "same\n"
            for name in (host, address):
                for source in hosts:
                    answer = on(source, "ssh", name, "hostname; hostname -I; getent hosts same")
                    assert answer.split() == ["same", address, "127.0.1.1", "same"]
        refused = lab("slurm", "up")
        if "apt install" not in refused.stderr:
            assert "a lab without --hostname" in refused.stderr
        assert refused.returncode == 2


# Up and down.


def leftovers() -> list[str]:
    """Return the processes of any lab."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(file.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [command for command in commands if str(STATE) in command]


def machine_links() -> list[str]:
    shown = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True)
    return [link["ifname"] for link in json.loads(shown.stdout)]


def test_a_lab_leaves_no_trace_and_the_machine_alone() -> None:
    before = machine_links()
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        assert machine_links() == before
        again = lab("up", "--hosts", "2", "--rate", "400mbit")
        assert again.returncode == 2
        assert "a lab is up" in again.stderr
        refused = lab("exec", "h1", sys.executable, LAB, "down")
        assert refused.returncode == 2
        assert "host of the lab" in refused.stderr
        sleeper = f"exec setsid sleep 1000 {STATE} >/dev/null 2>&1 &"
        on("h1", "bash", "-c", sleeper.replace(f" {STATE}", ""))
        on("h1", "ssh", "h2", f"setsid tail -f {STATE}/hostfile >/dev/null 2>&1 &")
        assert any("tail" in command for command in leftovers())
    assert machine_links() == before
    assert not STATE.exists()
    assert leftovers() == []
    assert lab("down").returncode == 0


def test_down_removes_half_a_lab() -> None:
    up = subprocess.Popen([sys.executable, LAB, "up", "--hosts", "16", "--rate", "400mbit"])
    while not (STATE / "namespaces" / "h5").exists():
        assert up.poll() is None
        time.sleep(0.01)
    up.kill()
    up.wait()
    assert "no lab is up" in lab("status").stderr
    assert lab("up", "--hosts", "2", "--rate", "400mbit").returncode == 2
    assert lab("down").returncode == 0
    assert not STATE.exists()
    assert leftovers() == []


def test_an_interrupted_up_leaves_nothing() -> None:
    up = subprocess.Popen([sys.executable, LAB, "up", "--hosts", "16", "--rate", "400mbit"])
    while not (STATE / "namespaces" / "h3").exists():
        assert up.poll() is None
        time.sleep(0.01)
    up.send_signal(signal.SIGINT)
    assert up.wait(TIMEOUT_S) == 130
    assert not STATE.exists()


# What is refused.


@pytest.mark.parametrize(
    ("tokens", "advice"),
    [
        ("", "--help"),
        ("upp", "--help"),
        ("up --hosts 2", "--rate"),
        ("up --rate 400mbit", "--machine"),
        ("up --machine none.toml --rate 1gbit", "leave --rate out"),
        ("up --machine none.toml", "none.toml"),
        ("up --hosts 1 --rate 1gbit", "2 to 16"),
        ("up --hosts 17 --rate 1gbit", "2 to 16"),
        ("up --hosts two --rate 1gbit", "--help"),
        ("up --hosts 2 --rate 1000", "400mbit"),
        ("up --hosts 2 --rate 70%", "400mbit"),
        ("up --hosts 2 --rate -1gbit", "--help"),
        ("up --hosts 2 --rate 999999gbit", "10gbit"),
        ("up --hosts 2 --rate 1gbit --mtu 9001", "576 to 9000"),
        ("up --hosts 2 --rate 1gbit --links 3", "1 to 2"),
        ("up --hosts 2 --rate 1gbit --slow h2", "h3:tx=70%"),
        ("up --hosts 2 --rate 1gbit --slow h3=70%", "h1 to h2"),
        ("up --hosts 2 --rate 1gbit --slow h2.2=70%", "1 to 1"),
        ("up --hosts 2 --rate 1gbit --slow h2:up=70%", "h3:tx"),
        ("up --hosts 2 --rate 1gbit --slow h2=0%", "1mbit"),
        ("up --hosts 2 --rate 1gbit --hostname a.b", "such as node"),
        ("exec h1 true", "scripts/lab up"),
        ("status", "scripts/lab up"),
        ("set h1 down", "scripts/lab up"),
    ],
)
def test_a_bad_request_gets_one_line_with_the_way_out(tokens: str, advice: str) -> None:
    if STATE.exists():
        pytest.skip("a lab is up")
    answer = lab(*tokens.split())
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert advice in answer.stderr
    assert not STATE.exists()


def test_who_is_not_root_gets_one_line() -> None:
    command = ["unshare", "--user", sys.executable, LAB, "status"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "sudo scripts/lab" in answer.stderr


def test_labs_of_two_folders_are_apart() -> None:
    other = {**os.environ, "CLUSTERBENCH_LAB": f"{STATE}-other"}
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        answer = lab("up", "--hosts", "2", "--rate", "100mbit", env=other)
        assert answer.returncode == 0, answer.stderr
        try:
            look = ("ssh", "h2", "readlink", "/proc/self/ns/net")
            seen = lab("exec", "h1", *look, env=other).stdout
            assert len({seen, on("h1", *look), ""}) == 3
        finally:
            assert lab("down", env=other).returncode == 0
        assert on("h1", "ssh", "h2", "hostname") == "h2\n"
    refused = lab("status", env={**os.environ, "CLUSTERBENCH_LAB": "/run/a b"})
    assert (refused.returncode, "/run/my-lab" in refused.stderr) == (2, True)


def test_missing_programs_are_named_with_their_packages() -> None:
    answer = lab("up", "--hosts", "2", "--rate", "1gbit", env={**os.environ, "PATH": "/nowhere"})
    assert answer.returncode == 2
    assert "apt install" in answer.stderr
    assert "openssh-client" in answer.stderr
