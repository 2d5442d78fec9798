"""A bridge with one address on every host of the lab: named before, and where a job hangs by it."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_lab import lab, lab_possible, lab_up, on
from test_lab_hosts import SUITE

from bench.core.records import Status
from bench.store.files import EVENTS_FILE, JOURNAL_FILE
from bench.store.folder import RunFolder, open_run

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.timeout(600)]

SETTING = "OMPI_MCA_btl_tcp_if_exclude"
LEAVES_OUT = "127.0.0.1/8,sppp,docker0"


@pytest.fixture(scope="module")
def bridged(lab_possible: None) -> Iterator[None]:
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        for host in ("h1", "h2"):
            on(host, "ip", "link", "add", "docker0", "type", "bridge")
            on(host, "ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
            on(host, "ip", "link", "set", "docker0", "up")
            # As Docker leaves it while no container runs: a port, and nothing behind it.
            on(host, "ip", "link", "add", "c0", "type", "veth", "peer", "name", "c1")
            on(host, "ip", "link", "set", "c0", "master", "docker0", "up")
            wait_for_carrier(host, "0")
        yield


def wait_for_carrier(host: str, state: str) -> None:
    # The kernel tells of it up to a second later.
    while on(host, "cat", "/sys/class/net/docker0/carrier").strip() != state:
        time.sleep(0.1)


def carry_out(folder: Path, **env: str) -> RunFolder:
    """Run a case between two hosts; return the folder of the run."""
    (folder / "two.toml").write_text(SUITE)
    request = ("run", folder / "two.toml", "-o", folder, "--no-report", "--hosts", "h1,h2")
    answer = lab(
        "exec", "h1", sys.executable, "-m", "bench", *request, "--bind", "none",
        env={**os.environ, **env},
    )  # fmt: skip
    run = open_run(folder / "latest")
    named = [finding for finding in run.findings if finding.name == "shared-address"]
    assert [finding.about.hosts for finding in named] == ([] if SETTING in env else [("h1", "h2")])
    assert answer.returncode == (0 if SETTING in env else 4), answer.stderr
    return run


def doctor(*flags: str) -> dict[str, tuple[str, str]]:
    out = on("h1", sys.executable, "-m", "bench", "doctor", "--json", *flags)
    findings = json.loads(out)["findings"]
    return {found["name"]: (found["text"], found["advice"] or "") for found in findings}


@pytest.mark.parametrize("connected", [False, True])
def test_a_bridge_that_all_hosts_have_is_named_with_the_way_out(
    bridged: None, tmp_path: Path, connected: bool
) -> None:
    """Open MPI 5.0.11 takes it for the way to the other host, with carrier and without."""
    if connected:
        for host in ("h1", "h2"):
            on(host, "ip", "link", "set", "c1", "up")
            wait_for_carrier(host, "1")
    alone = doctor()
    assert "docker0 is a bridge, with 172.17.0.1/16" in alone["odd-interface"][0]
    assert f"{SETTING}={LEAVES_OUT}" in alone["odd-interface"][1]
    asked = doctor("--hosts", "h1,h2")
    assert "odd-interface" not in asked
    text, advice = asked["shared-address"]
    kind = "bridge" if connected else "bridge, nothing connected"
    assert f"docker0 ({kind}) has 172.17.0.1/16 on all of h[1-2]" in text
    assert f"{SETTING}={LEAVES_OUT}" in advice
    (row,) = carry_out(tmp_path).rows()
    assert row.status is Status.FAILED
    # MPI's words end the job, and no deadline.
    assert "no sign of life" not in (row.reason or "")
    assert f"docker0 ({kind}) has 172.17.0.1/16 on all of h[1-2]" in (row.reason or "")
    assert f"{SETTING}={LEAVES_OUT}" in (row.reason or "")


@pytest.mark.slow
def test_with_the_setting_that_is_named_it_is_measured(bridged: None, tmp_path: Path) -> None:
    run = carry_out(tmp_path, **{SETTING: LEAVES_OUT})
    (row,) = run.rows()
    assert row.status is Status.OK
    # Ranks look for themselves, for runs in which nobody asks over ssh; and cards are counted.
    entries = [json.loads(line) for line in (run.path / JOURNAL_FILE).read_bytes().splitlines()]
    (facts,) = (e["event"] for e in entries if e.get("event", {}).get("type") == "facts")
    assert [(s["interface"], s["hosts"]) for s in facts["shared"]] == [("docker0", ["h1", "h2"])]
    assert "eth1" in (run.path / EVENTS_FILE).read_text()
