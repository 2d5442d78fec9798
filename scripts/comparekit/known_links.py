"""Links of the lab whose difference is known, compared as users do it."""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from provekit.provenance import cpus, kernel, mpi, today
from provekit.virtual import STATE, Lab

from bench.core.verdict import Outcome
from bench.judge.compare.compare import compare_runs
from bench.judge.compare.comparison import Held
from bench.judge.compare.records import Aspect
from bench.judge.compare.sides import open_sides
from comparekit.proved import Proved

LAUNCHES = 10
MARGIN = 0.02
SUITE = """
[suite]
name = "links"
cap_s = 1
[[benchmark]]
name = "bandwidth"
bytes = "1 MiB"
window = 4
"""
_TCP = 52
"""Bytes of a packet that are headers of IPv4, and of TCP with time stamps."""
_ETHERNET = 38
"""Bytes that a wire carries beside a packet."""
MTUS = (9000, 1500)
MOST_OFF = 0.01
"""Of a ratio, from the truth."""
_LINKS = tuple(f"mca.btl_tcp_if_include=10.78.{number}.0/24" for number in (1, 2))


class Claim(NamedTuple):
    """What a comparison has to say, and what it said."""

    what: str
    wanted: Outcome
    truth: float
    """Seconds of B over those of A."""
    found: Held
    culprit: str | None = None
    """Of what is said to have changed, it has to be among the first three."""


def prove_links() -> Proved:
    """Return what comparisons of known links say, and whether it is true."""
    lab = Lab({"OMPI_MCA_btl": "self,tcp"})
    with tempfile.TemporaryDirectory(prefix="clusterbench-proof-") as name:
        folder = Path(name)
        suite = folder / "links.toml"
        suite.write_text(SUITE, encoding="utf-8")
        slow = [f"--slow=h{host}.2=380mbit" for host in (1, 2)]
        with lab.up("--hosts", "2", "--rate", "400mbit", "--links", "2", *slow):
            claims = [
                Claim(
                    "A 400 Mbit/s, B 380 Mbit/s",
                    Outcome.SLOWER,
                    400 / 380,
                    _compare_links(lab, suite, _LINKS),
                ),
                Claim(
                    "400 Mbit/s with itself",
                    Outcome.SAME,
                    1.0,
                    _compare_links(lab, suite, (_LINKS[0], _LINKS[0])),
                ),
            ]
        claims.append(_compare_mtus(lab, suite))
    return describe(claims)


def _compare_links(lab: Lab, suite: Path, links: tuple[str, str]) -> Held:
    """Compare the same link, or two, by launches in turn."""
    folder = suite.parent / str(len(list(suite.parent.iterdir())))
    lab.execute(*_command("ab", suite, folder), "--a", links[0], "--b", links[1], fails=True)
    return _hold(next(folder.glob("*-ab-*")))


def _compare_mtus(lab: Lab, suite: Path) -> Claim:
    """Compare two runs; between them the MTU of both hosts is changed."""
    runs = []
    with lab.up("--hosts", "2", "--rate", "400mbit", "--mtu", str(MTUS[0])):
        for mtu in MTUS:
            for host in ("h1", "h2"):
                lab.change(host, f"mtu={mtu}")
            folder = suite.parent / f"mtu-{mtu}"
            lab.execute(*_command("run", suite, folder), fails=True)
            runs.append((folder / "latest").resolve())
    carried = [(mtu - _TCP) / (mtu + _ETHERNET) for mtu in MTUS]
    what = "MTU of A {} bytes, of B {}: two runs".format(*MTUS)
    return Claim(what, Outcome.SLOWER, carried[0] / carried[1], _hold(*runs), ".mtu")


def _command(verb: str, suite: Path, folder: Path) -> tuple[str, ...]:
    where = ("--hostfile", str(STATE / "hostfile"), "--bind", "none", "--no-report")
    count = ("--launches", str(LAUNCHES))
    return (sys.executable, "-m", "bench", verb, str(suite), *count, *where, "-o", str(folder))


def _hold(*folders: Path) -> Held:
    return compare_runs(open_sides(folders), MARGIN).held[0]


def describe(claims: list[Claim]) -> Proved:
    """Return a line for each comparison, and whether all said what is true."""
    lines = [
        "| compared | wanted | said | B over A | interval | truth | likeliest culprit | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    met = []
    for claim in claims:
        answer = claim.found.of(Aspect.LEVEL)[0].answer
        ratio, low, high = (part or 0.0 for part in (answer.ratio, answer.low, answer.high))
        culprits = [f"{each.kind} {each.what}" for each in claim.found.changed]
        near = abs(ratio / claim.truth - 1) < MOST_OFF
        named = claim.culprit is None or any(claim.culprit in each for each in culprits[:3])
        met.append(answer.outcome is claim.wanted and near and named)
        lines.append(
            f"| {claim.what} | {claim.wanted} | {answer.outcome} | {ratio:.4f} "
            f"| {low:.4f} to {high:.4f} | {claim.truth:.4f} "
            f"| {culprits[0] if culprits else 'none'} | {'yes' if met[-1] else 'NO'} |"
        )
    lines += [
        "",
        f"Windows of 4 messages of 1 MiB, {LAUNCHES} launches of each side, margin {MARGIN:.0%}; "
        f"{today()}, {cpus()}, {kernel()}, {mpi()}.",
    ]
    return Proved("\n".join(lines), all(met))
