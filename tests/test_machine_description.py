"""Machine files: what a seller says, checked before anything runs."""

import math
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.machine.description import (
    Description,
    load_description,
    parse_description,
    read_description,
)
from bench.machine.description.quantity import Frequency, LinkRate
from bench.predict.model.datasheet.tiers import through_switches

LAB = Path(__file__).parent.parent / "scripts"


def test_an_empty_file_says_nothing():
    assert parse_description("") == Description()


FLAT = (
    'hosts = ["h1"]\nlinks = 2\npayload_bytes_per_s = 5e7\nmtu_bytes = 9000\n'
    "burst_bytes = 12788\nreduces = true\nmemory_bytes_per_s = 1e11\ncpu_hz = 3.7e9\n"
)
TABLES = """hosts = ["h1"]
network.reduces = true
[node]
cpu.clock = "3.7 GHz"
memory.bandwidth = "100 GB/s"
[node.nic]
count = 2
link = "50 MB/s"
mtu = 9000
burst = "12788 B"
"""


def test_the_flat_grammar_says_the_same_as_tables():
    said = parse_description(TABLES)
    assert said.node.nic.link == LinkRate(5e7)
    assert said.node.cpu.clock == Frequency(3.7e9)
    assert parse_description(FLAT) == said


def test_a_value_may_be_a_range_with_its_source():
    text = 'node.memory.bandwidth = { value = ["100 GB/s", "400 GB/s"], source = "STREAM" }'
    rate = parse_description(text).node.memory.bandwidth
    assert [rate.at(end) for end in ("slow", "middle", "fast")] == [1e11, 2e11, 4e11]
    assert rate.source == "STREAM"
    delay = parse_description('network.latency = ["1 us", "4 us"]').network.latency
    assert delay.at("fast") == pytest.approx(1e-6)


def test_what_the_lab_writes_is_understood(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(LAB))
    from labkit import cluster

    monkeypatch.setattr(cluster, "MACHINE", tmp_path / "machine.toml")
    monkeypatch.setattr(cluster, "HOSTFILE", tmp_path / "hostfile")
    monkeypatch.setattr(cluster, "ADDRESSES", tmp_path / "addresses")
    cluster.write_description(cluster.Cluster(("h1", "h2"), 400_000_000, 9000, 1))
    said = parse_description(read_description(tmp_path / "machine.toml"))
    assert said.hosts == ("h1", "h2")
    assert said.node.nic.link.high == pytest.approx(50e6 * 8948 / 9038, abs=0.1)
    assert said.node.nic.burst.high == 9038 + 50e6 * 75e-6
    for name in [name for name in sys.modules if name.startswith("labkit")]:
        del sys.modules[name]


def test_a_host_is_known_by_the_first_part_of_its_name():
    said = Description(hosts=("h1.example.org", "h2"))
    assert said.names("h1")
    assert said.names("h2.local")
    assert not said.names("h3")
    assert Description().names("anything")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("payload = 1", "payload: unknown key"),
        ("links = 0", "links: 0 is outside >= 1"),
        ("links = true", "links: must be a whole number"),
        ("payload_bytes_per_s = -1.0", "payload_bytes_per_s: -1.0 is outside > 0"),
        ("payload_bytes_per_s = nan", "nan is outside > 0"),
        ("payload_bytes_per_s = '5 GB/s'", "must be a number, not a string"),
        ("cpu_hz = true", "must be a number, not true or false"),
        ("hosts = 'h1'", "hosts: must be a list"),
        ("hosts = [1]", "hosts[0]: must be a string"),
        ('link = "hdr"\npayload_bytes_per_s = 1.0', "leave one out"),
        ('link = "hdrr"', "did you mean 'hdr'?"),
        (
            "links = 1\n[node.nic]\ncount = 1",
            "links: does not go with a table; write node.nic.count",
        ),
        ("node.cpu.clock = 3", "node.cpu.clock: 3 is no value; write text with a unit"),
        ('node.cpu.clock = ["3 GHz", "2 GHz"]', "the least first"),
        ('hosts = ["a"]\nnodes = 2', "nodes: 2, but hosts names 1"),
        ("=", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path, text, message):
    file = tmp_path / "machine.toml"
    file.write_text(text)
    with pytest.raises(RequestError) as error:
        read_description(file)
    assert message in str(error.value)
    assert "--machine" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RequestError, match="cannot read the machine file"):
        read_description(tmp_path / "none.toml")


@given(st.floats())
def test_only_rates_above_zero_are_rates(rate):
    text = f"memory_bytes_per_s = {'inf' if rate == math.inf else rate!r}"
    if 0 < rate <= 1e18:
        assert parse_description(text).node.memory.bandwidth.high == rate
    else:
        with pytest.raises(RequestError):
            parse_description(text)


def test_every_documented_machine_file_is_read():
    text = (LAB.parent / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    machines = [block for block in blocks if "[node" in block]
    assert len(machines) == 2
    assert all(parse_description(block) != Description() for block in machines)


def test_what_leaves_a_switch_is_shared_by_its_nodes():
    # 4 nodes, 2 on a switch, half of what they send leaves: naive has 3 parts, 2 of them outside.
    assert through_switches(8.0, "all to all", 4, 2, 2.0) == 8.0 * 3 / 2 / 2
    assert through_switches(8.0, "ring", 4, 2, 2.0) == 8.0
    assert through_switches(8.0, "ring", 4, 2, 4.0) == 4.0
    assert through_switches(8.0, "all to all", 2, 2, 4.0) == 8.0


LAB_FILES = (
    ('nodes = 3\nnode.nic = { line = "50 MB/s", count = 2 }', (3, 400_000_000, 9000, 2)),
    ('hosts = ["a", "b"]\nnode.nic = { link = "1gbe", mtu = 1500 }', (2, 1_000_000_000, 1500, 1)),
    ('nodes = 2\nnode.nic.link = "49502102.2 B/s"', (2, 400_000_000, 9000, 1)),
    ("payload_bytes_per_s = 49502102.2\nmtu_bytes = 9000\nhosts = ['x', 'y']", (2, 4e8, 9000, 1)),
)


@pytest.mark.parametrize(("text", "made"), LAB_FILES)
def test_a_lab_is_made_by_the_file_that_runs_and_predictions_take(
    text, made, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(LAB))
    from labkit.described import read_machine

    file = tmp_path / "machine.toml"
    file.write_text(text)
    cluster = read_machine(file, None)
    assert (len(cluster.hosts), cluster.mtu_bytes, cluster.links) == (made[0], *made[2:])
    assert cluster.rate_bits_per_s == pytest.approx(made[1], rel=1e-6)
    assert load_description(file).node.nic.count == cluster.links


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nodes = 2", "node.nic.link: missing"),
        ('node.nic.line = "50 MB/s"', "nodes: missing"),
        ('nodes = 2\nnode.nic.link = "ndr"', "bit/s of node.nic.link"),
        ('nodes = 2\nnode.nic = { line = "50 MB/s", count = 8 }', "node.nic.count is 8"),
        ('nodes = 2\nnode.nik.line = "50 MB/s"', "unknown key"),
    ],
)
def test_a_file_that_no_lab_can_be_is_refused_in_one_line(text, why, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(LAB))
    from labkit.described import read_machine
    from labkit.errors import LabError

    file = tmp_path / "machine.toml"
    file.write_text(text)
    with pytest.raises(LabError, match=re.escape(why)) as refused:
        read_machine(file, None)
    assert "\n" not in str(refused.value)
