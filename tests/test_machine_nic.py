"""Settings of network cards: PCIe packets, features, rings, flow control and interrupts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conftest import refuse
from hypothesis import given
from hypothesis import strategies as st
from trees import Tree, gpu_node, write_tree

from bench.core.records import Finding
from bench.machine.doctor import check_node
from bench.machine.ethtool import Ethtool, NicSettings
from bench.machine.facts import NodeFacts, facts_hash, facts_table, gather_facts
from bench.machine.netlink import make_attribute, read_attributes
from bench.machine.pci import PacketSizes, read_packet_sizes
from bench.machine.survey import Survey

CARD = "sys/devices/pci0000:00/0000:18:00.0"
"""The first card of the GPU node, on NUMA node 0 with CPUs 0-7 and 16-23."""


def config_space(able: int, control: int, size: int = 256, first: int = 0x40) -> bytes:
    """Return a configuration space by the layout of the PCIe base specification.

    A power management capability at 0x40 points to MSI-X at 0x50, and that to PCI Express at 0x60,
    where its own registers stand: DevCap four bytes on, DevCtl eight.
    """
    space = bytearray(256)
    space[0x00:0x04] = bytes.fromhex("b3152110")  # 15b3:1021
    space[0x06] = 0x10  # Status: there is a list of capabilities
    space[0x34] = first
    space[0x40:0x44] = bytes.fromhex("01500300")
    space[0x50:0x54] = bytes.fromhex("11603f80")
    space[0x60:0x64] = bytes.fromhex("10000200")
    space[0x64:0x68] = able.to_bytes(4, "little")
    space[0x68:0x6A] = control.to_bytes(2, "little")
    return bytes(space[:size])


@pytest.mark.parametrize(
    ("space", "sizes"),
    [
        # What lspci shows of a ConnectX-7 as DevCap MaxPayload 512, DevCtl 256 and 4096 bytes.
        (config_space(0x0000_8FE2, 0x5936), PacketSizes(256, 512, 4096)),
        (config_space(0x0000_8FE2, 0x2936), PacketSizes(256, 512, 512)),
        (config_space(0x0, 0x0), PacketSizes(128, 128, 128)),
        (config_space(0x5, 0x50A0), PacketSizes(4096, 4096, 4096)),
        # Codes that the specification keeps for later.
        (config_space(0x6, 0x70C0), None),
        (config_space(0x1, 0x60E0), PacketSizes(None, 256, None)),
        # Others than root see 64 bytes: where the capabilities begin, and none of them.
        (config_space(0x2, 0x5936, size=64), None),
        # A list that leads into itself, or out of the space, ends.
        (config_space(0x2, 0x5936, first=0x50).replace(b"\x11\x60", b"\x11\x50"), None),
        (config_space(0x2, 0x5936, first=0xFC), None),
        (config_space(0x2, 0x5936, first=0), None),
        (config_space(0x2, 0x5936, size=0x68), None),
        # A device that is gone from the bus reads as ones.
        (b"\xff" * 256, None),
        (b"", None),
    ],
)
def test_sizes_of_pcie_packets_are_those_of_the_configuration_space(
    tmp_path: Path, space: bytes, sizes: PacketSizes | None
) -> None:
    file = tmp_path / "config"
    file.write_bytes(space)
    assert read_packet_sizes(file) == sizes


@given(st.binary(max_size=256))
def test_no_configuration_space_breaks_the_reader(space: bytes) -> None:
    number = os.memfd_create("config")
    try:
        os.write(number, space)
        found = read_packet_sizes(Path(f"/proc/self/fd/{number}"))
    finally:
        os.close(number)
    sizes = {128 << code for code in range(6)} | {None}
    assert found is None or {found.max_payload, found.max_read_request} <= sizes


def interrupts(card: str, affinity: dict[int, tuple[str, str]]) -> Tree:
    """Return the interrupts of a card: by number the name and the CPUs of each."""
    tree: Tree = {}
    for number, (name, cpus) in affinity.items():
        tree[f"{card}/msi_irqs/{number}"] = "msix\n"
        tree[f"sys/kernel/irq/{number}/actions"] = f"{name}\n"
        tree[f"proc/irq/{number}/smp_affinity_list"] = f"{cpus}\n"
    return tree


QUEUES = {
    40: ("mlx5_async0@pci:0000:18:00.0", "0-31"),
    41: ("mlx5_comp0@pci:0000:18:00.0", "0"),
    42: ("mlx5_comp1@pci:0000:18:00.0", "17"),
    43: ("", "0-31"),
}


def read(tmp_path: Path, *trees: Tree) -> NodeFacts:
    tree = gpu_node()
    for more in trees:
        tree |= more
    return gather_facts(write_tree(tmp_path, tree))


def on_cpus(cpus: str) -> dict[int, tuple[str, str]]:
    return {41: ("mlx5_comp0", cpus), 42: ("mlx5_comp1", cpus)}


def test_interrupts_of_queues_are_placed_and_others_left_out(tmp_path: Path) -> None:
    facts = read(tmp_path, interrupts(CARD, QUEUES))
    first, second = facts.nics[0], facts.nics[1]
    assert (first.interrupt_cpus, second.interrupt_cpus) == ("0,17", None)
    shown = dict(facts_table(facts))
    assert "interrupts on CPUs 0,17 (NUMA 0)" in shown["NIC ibp0 is set to"]
    assert "interrupts unknown" in shown["NIC ibp1 is set to"]


@pytest.mark.parametrize(
    ("cpus", "text"),
    [
        ("8-15", "NUMA 1 instead of NUMA 0"),
        ("0-15", "NUMA 0, NUMA 1 instead of NUMA 0"),
        ("3", "CPU 3, NUMA 0 instead of NUMA 0"),
        # A service moves them about within a node all the time.
        ("1-2", None),
    ],
)
def test_a_node_whose_interrupts_are_placed_otherwise_is_named(
    tmp_path: Path, cpus: str, text: str | None
) -> None:
    usual = read(tmp_path / "usual", interrupts(CARD, QUEUES))
    other = read(tmp_path / "other", interrupts(CARD, on_cpus(cpus)))
    found = odd({"n1": usual, "n2": usual, "n3": other})
    named = [f.text for f in found if "interrupt_cpus" in f.text]
    expected = f"n3 differs from most nodes in nics[0000:18:00.0].interrupt_cpus: {text}"
    assert named == ([] if text is None else [expected])
    assert (facts_hash(usual) == facts_hash(other)) == (text is None)


@pytest.mark.parametrize(
    ("cpus", "words"),
    [
        ("8-15", ["CPUs 8-15", "NUMA 0", "set_irq_affinity"]),
        ("3", ["CPU 3", "all"]),
        ("0-7", None),
        ("0-31", None),
    ],
)
def test_the_doctor_names_interrupts_that_are_far_or_crowded(
    tmp_path: Path, cpus: str, words: list[str] | None
) -> None:
    facts = read(tmp_path, interrupts(CARD, on_cpus(cpus)))
    found = [f for f in check_node(facts) if f.name == "nic-interrupts"]
    assert len(found) == (words is not None)
    for finding in found:
        assert finding.about.parts == ("nic0",)
        assert [w for w in words or [] if w not in f"{finding.text} {finding.advice}"] == []


def odd(nodes: dict[str, NodeFacts]) -> list[Finding]:
    return [f for f in Survey().look(nodes, {}) if f.name == "odd-node"]


def test_packets_of_a_card_are_read_shown_and_compared(tmp_path: Path) -> None:
    usual = read(tmp_path / "usual", {f"{CARD}/config": config_space(0x8FE2, 0x5936)})
    other = read(tmp_path / "other", {f"{CARD}/config": config_space(0x8FE2, 0x2936)})
    shown = dict(facts_table(usual))
    assert "MaxPayload 256 of 512 B, MaxReadReq 4096 B" in shown["NIC ibp0 is set to"]
    assert "MaxPayload and MaxReadReq unknown" in shown["NIC ibp1 is set to"]
    (finding,) = odd({"n1": usual, "n2": usual, "n3": other})
    # An interface and an RDMA device on one card are one difference.
    assert finding.text == (
        "n3 differs from most nodes in nics[0000:18:00.0].pci.packets.max_read_request: "
        "512 instead of 4096"
    )
    assert finding.about.parts == ("n3:nic0",)


def counters(device: str, names: list[str]) -> Tree:
    """Return the files of the counters of an RDMA port."""
    folder = f"{CARD}/infiniband/{device}/ports/1"
    tree: Tree = {f"{folder}/counters/{name}": "0\n" for name in ("port_rcv_data", "symbol_error")}
    return tree | {f"{folder}/hw_counters/{name}": "0\n" for name in ("lifespan", *names)}


def test_names_of_port_counters_are_compared_by_what_is_missing(tmp_path: Path) -> None:
    names = [f"counter_of_some_length_{i}" for i in range(30)]
    usual = read(tmp_path / "usual", counters("mlx5_0", [*names, "out_of_sequence"]))
    other = read(tmp_path / "other", counters("mlx5_0", [*names, "rx_icrc_encapsulated"]))
    (port,) = usual.rdma[0].ports
    assert port.counters == 0
    assert "out_of_sequence, port_rcv_data, symbol_error" in usual.port_counters[0]
    assert "lifespan" not in usual.port_counters[0]
    assert usual.rdma[1].ports[0].counters is None
    (finding,) = odd({"n1": usual, "n2": usual, "n3": other})
    assert finding.text == (
        "n3 differs from most nodes in rdma[0000:18:00.0].ports[1].counters: "
        "rx_icrc_encapsulated instead of out_of_sequence"
    )
    assert (finding.value, finding.limit) == ("rx_icrc_encapsulated", "out_of_sequence")
    (finding,) = odd({"n1": usual, "n3": other})
    assert "out_of_sequence on n1, rx_icrc_encapsulated on n3" in finding.text


ETHTOOL = shutil.which("ethtool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def in_new_network(script: str, *arguments: str) -> str:
    """Return what a script prints that runs in a network of its own, with a /sys that shows it."""
    if os.geteuid() != 0 or IP is None or (ETHTOOL is None and "ethtool" in script):
        refuse("needs root and the packages iproute2 and ethtool")
    shell = ("sh", "-euc", f"mount -t sysfs sysfs /sys\n{script}", "sh", *arguments)
    answer = subprocess.run(
        ("unshare", "--net", "--mount", *shell),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


GATHER = """
from pathlib import Path
import msgspec, sys
from bench.machine.facts import gather_facts
sys.stdout.write(msgspec.json.encode(gather_facts(Path("/"))).decode() + "\\n")
"""


def test_a_feature_that_is_switched_is_seen_and_told_between_nodes() -> None:
    """A real interface: the program switches it, and the facts follow."""
    out = in_new_network(
        'ip link add v0 type veth peer name v1\n"$1" -c "$2"\n'
        'ethtool -K v0 tso off gro on\n"$1" -c "$2"\n',
        sys.executable,
        GATHER,
    )
    before, after = (msgspec_facts(line) for line in out.splitlines())
    assert [nic.name for nic in after.nics] == ["v0", "v1"]
    first, second = (after.nic_settings[nic.settings or 0] for nic in after.nics)
    assert "tso off" in (first.features or "")
    assert "gro on" in (first.features or "")
    assert "tso on" in (second.features or "")
    assert len(before.nic_settings) == 1  # both alike, so once
    nodes = {"n1": before, "n2": before, "n3": after}
    (text,) = (f.text for f in odd(nodes) if "features" in f.text)
    assert text.startswith("n3 differs from most nodes in nics[v0].settings.features: tso off")
    assert " instead of tso on" in text
    shown = dict(facts_table(after))
    assert "tso off" in shown["NIC v0 is set to"]


def test_what_a_driver_does_not_have_is_unknown_and_what_it_has_may_be_nought() -> None:
    """A tap has one number to coalesce by, and neither rings nor flow control."""
    out = in_new_network(
        'ip tuntap add t0 mode tap\n"$1" -c "$2"\nethtool -C t0 rx-frames 7\n"$1" -c "$2"\n',
        sys.executable,
        GATHER,
    )
    before, after = (msgspec_facts(line) for line in out.splitlines())
    assert [s.coalescing for s in before.nic_settings] == ["rx-frames 0"]
    assert [s.coalescing for s in after.nic_settings] == ["rx-frames 7"]
    assert {(s.rings, s.pause) for s in after.nic_settings} == {(None, None)}
    (text,) = (f.text for f in odd({"n1": before, "n2": before, "n3": after}))
    assert text == (
        "n3 differs from most nodes in nics[t0].settings.coalescing: "
        "rx-frames 7 instead of rx-frames 0"
    )


def msgspec_facts(line: str) -> NodeFacts:
    return msgspec.json.decode(line, type=NodeFacts)


def test_this_machine_s_interfaces_agree_with_ethtool() -> None:
    if ETHTOOL is None:
        refuse("no ethtool; on Debian: apt install ethtool")

    def ask(option: str, name: str) -> dict[str, object]:
        command = (ETHTOOL or "", "--json", option, name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return json.loads(done.stdout)[0] if done.returncode == 0 and done.stdout.strip() else {}

    shorter = {"tso": "tx-tcp-segmentation", "tx-checksum": "tx-checksum-ip-generic"}
    compared = 0
    with Ethtool() as ethtool:
        for folder in Path("/sys/class/net").iterdir():
            found = ethtool.read(folder.name) or NicSettings()
            theirs = ask("--show-features", folder.name)
            for word in (found.features or "").split(", "):
                name, _, state = word.partition(" ")
                entry = theirs.get(shorter.get(name, name))
                if isinstance(entry, dict):
                    assert entry["active"] == (state == "on"), (folder.name, name)
                    assert not entry["fixed"]
                    compared += 1
            rings = ask("--show-ring", folder.name)
            for word in (found.rings or "").split(", "):
                name, _, value = word.partition(" ")
                if name in rings:
                    assert rings[name] == int(value)
                    compared += 1
    assert compared > 0


def test_settings_are_asked_of_this_machine_and_of_no_tree(tmp_path: Path) -> None:
    facts = read(tmp_path)
    assert facts.nic_settings == ()
    assert {nic.settings for nic in facts.nics} == {None}


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_are_read_as_they_were_made(attributes: list[tuple[int, bytes]]) -> None:
    made = b"".join(make_attribute(kind, value) for kind, value in attributes)
    assert list(read_attributes(made)) == attributes


@given(st.binary(max_size=80))
def test_no_answer_breaks_the_reader_of_attributes(data: bytes) -> None:
    for _, value in read_attributes(data):
        assert len(value) <= len(data)


def test_a_stored_number_that_names_no_settings_is_unknown(tmp_path: Path) -> None:
    facts = read(tmp_path)
    nics = tuple(msgspec.structs.replace(nic, settings=99) for nic in facts.nics)
    wrong = msgspec.structs.replace(facts, nics=nics)
    assert odd({"n1": wrong, "n2": facts, "n3": facts}) == []
    assert "unknown" in dict(facts_table(wrong))["NIC ibp0 is set to"]
