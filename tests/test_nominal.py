"""Machine files: what a seller says, checked before anything runs."""

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.machine.nominal import Nominal, parse_nominal, read_nominal

LAB = Path(__file__).parent.parent / "scripts"


def test_an_empty_file_says_nothing():
    assert parse_nominal("") == Nominal()


def test_every_key_is_read():
    said = parse_nominal(
        'hosts = ["h1"]\nlinks = 2\npayload_bytes_per_s = 5e7\nmtu_bytes = 9000\n'
        "burst_bytes = 12788\nreduces = true\nmemory_bytes_per_s = 1e11\ncpu_hz = 3.7e9\n"
    )
    assert said == Nominal(
        hosts=("h1",),
        links=2,
        payload_bytes_per_s=5e7,
        mtu_bytes=9000,
        burst_bytes=12788,
        reduces=True,
        memory_bytes_per_s=1e11,
        cpu_hz=3.7e9,
    )


def test_what_the_lab_writes_is_understood(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(LAB))
    from labkit import cluster

    monkeypatch.setattr(cluster, "MACHINE", tmp_path / "machine.toml")
    monkeypatch.setattr(cluster, "HOSTFILE", tmp_path / "hostfile")
    monkeypatch.setattr(cluster, "ADDRESSES", tmp_path / "addresses")
    cluster.write_description(cluster.Cluster(("h1", "h2"), 400_000_000, 9000, 1))
    said = parse_nominal(read_nominal(tmp_path / "machine.toml"))
    assert said.hosts == ("h1", "h2")
    assert said.payload_bytes_per_s == pytest.approx(50e6 * 8948 / 9038, abs=0.1)
    assert said.burst_bytes == 9038 + 50e6 * 75e-6
    for name in [name for name in sys.modules if name.startswith("labkit")]:
        del sys.modules[name]


def test_a_host_is_known_by_the_first_part_of_its_name():
    said = Nominal(hosts=("h1.example.org", "h2"))
    assert said.names("h1")
    assert said.names("h2.local")
    assert not said.names("h3")
    assert Nominal().names("anything")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("payload = 1", "payload: unknown key"),
        ("links = 0", "links: 0 is outside"),
        ("links = true", "links: must be a whole number"),
        ("payload_bytes_per_s = -1.0", "payload_bytes_per_s: -1.0 is no rate"),
        ("payload_bytes_per_s = nan", "is no rate"),
        ("payload_bytes_per_s = '5 GB/s'", "must be a number, not a string"),
        ("cpu_hz = true", "must be a number, not true or false"),
        ("hosts = 'h1'", "hosts: must be a list"),
        ("hosts = [1]", "hosts[0]: must be a string"),
        ('link = "hdr"\npayload_bytes_per_s = 1.0', "leave one of them out"),
        ('link = "hdrr"', "did you mean 'hdr'?"),
        ("=", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path, text, message):
    file = tmp_path / "machine.toml"
    file.write_text(text)
    with pytest.raises(RequestError) as error:
        read_nominal(file)
    assert message in str(error.value)
    assert "--machine" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RequestError, match="cannot read the machine file"):
        read_nominal(tmp_path / "none.toml")


@given(st.floats())
def test_only_rates_above_zero_are_rates(rate):
    text = f"memory_bytes_per_s = {'inf' if rate == math.inf else rate!r}"
    if 0 < rate <= 1e18:
        assert parse_nominal(text).memory_bytes_per_s == rate
    else:
        with pytest.raises(RequestError):
            parse_nominal(text)
