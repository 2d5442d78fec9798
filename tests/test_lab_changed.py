"""Real runs over hosts of the lab, with one thing changed between two of them."""

import os
import sys
from pathlib import Path

import pytest
from test_lab import lab, lab_possible, lab_up, on

from bench.judge.changed.changes import find_changes
from bench.judge.changed.records import Kind
from bench.store.folder import RunFolder, open_run

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]

SUITE = """
[suite]
name = "two"
cap_s = 0.05
[[benchmark]]
name = "latency"
bytes = ["8 B", "128 KiB"]
"""


def run(folder: Path) -> RunFolder:
    """Run the suite on two hosts; return its folder."""
    (folder / "two.toml").write_text(SUITE)
    command = (sys.executable, "-m", "bench", "run", folder / "two.toml", "-o", folder)
    env = {**os.environ, "OMPI_MCA_btl": "self,tcp"}
    flags = ("--hosts", "h[1-2]", "--bind", "none", "--no-report")
    answer = lab("exec", "h1", *command, *flags, env=env)
    assert answer.returncode == 0, answer.stderr
    return open_run(Path(answer.stdout.splitlines()[-1]))


def test_what_was_changed_between_two_runs_is_named(tmp_path):
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        before = run(tmp_path)
        on("h2", "ethtool", "-K", "eth1", "tso", "off")
        for host in ("h1", "h2"):
            answer = lab("set", host, "mtu=1500")
            assert answer.returncode == 0, answer.stderr
        after = run(tmp_path)
    (seen,) = before.nodes.transports
    assert (seen.hosts, seen.small, seen.large) == (("h1", "h2"), *["TCP over eth1"] * 2)
    # What other programs of this machine do meanwhile is no matter here.
    packets, offload = (e for e in find_changes(before, after) if e.kind is not Kind.TIME)
    assert (packets.kind, packets.what) == (Kind.LINK, "nics[eth1].mtu")
    assert (packets.a, packets.b, packets.hosts) == ("9000", "1500", ())
    assert (offload.kind, offload.what) == (Kind.CARD, "nics[eth1].settings.features")
    assert offload.hosts == ("h2",)
    assert "tso on" in (offload.a or "")
    assert "tso off" in (offload.b or "")
