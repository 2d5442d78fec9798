"""Takes out of a run what would show an outsider whose machine it is.

Host names become h0, h1, ...; user names, paths and network addresses become words in brackets;
UUIDs and serial numbers are dropped. It works on the data, before any page or figure is made.
"""

import contextlib
import getpass
import re
import socket
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import pandas as pd

from bench.core.errors import RequestError
from bench.core.hostlists.typed import parse_hosts
from bench.core.hostnames import fold_hosts, host_of, split_part
from bench.core.transport import Transport
from bench.report.data import RunData
from bench.store.meta import Measured
from bench.store.nodes import Nodes

Record = TypeVar("Record", bound=msgspec.Struct)

_DROPPED = re.compile(
    r"uuid|serial|guid|unique_id|mac_address|hw_address|machine_id", re.IGNORECASE
)
"""Keys of facts that name one piece of hardware."""
_PATH = re.compile(r"(?<![\w/<)])~?(?:/[\w.+@%,:~-]+)+/?")
_ROOTED = re.compile(
    r"/(?:bin|data|etc|export|gpfs|home|lustre|mnt|nfs|opt|projects?|root|scratch|shared|srv|sw|tmp"
    r"|usr|users|Users|var|work)/[\w.+@%,:~/-]+"
)
"""Paths that follow a letter, as in `-L/home/...`, where a slash alone may be a fraction."""
_HOME = re.compile(r"/(?:home|users|Users)/([\w.-]+)")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:GPU-|MIG-)?\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "(uuid)"),
    (re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5,}\b", re.I), "(address)"),
    (re.compile(r"\b(?:0x)?[0-9a-f]{4}(?::[0-9a-f]{4}){3}\b", re.I), "(address)"),
    (re.compile(r"\b(?:0x)?[0-9a-f]{16,}\b", re.I), "(id)"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "(address)"),
    # Of IPv6: all eight groups, or fewer with `::` after the first.
    (re.compile(r"\b[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}\b", re.I), "(address)"),
    (re.compile(r"(?<![\w:])[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*::[0-9a-f:]*", re.I), "(address)"),
    (_ROOTED, "(path)"),
    (_PATH, "(path)"),
    (re.compile(r"\b[\w.-]+@(?=[\w(])"), "(user)@"),
)
_FOLDED = re.compile(r"(?:[\w.-]*\[[\d,-]+\])+[\w.-]*", re.ASCII)
"""Several hosts as findings name them, such as `node[1-3,7]`."""
_COMMON = {"localhost", "root", "user", "home"}
"""Names that identify nobody."""
_META_TEXTS = ("suite_name", "made", "outcome")
_PARTS_TEXTS = ("suite_text", "machine_text", "commands", "findings")


class _Scrubber:
    def __init__(self, hosts: Iterable[str], users: Iterable[str]) -> None:
        replaced: dict[str, str] = {}
        for host in hosts:
            short = host.partition(".")[0]
            known = replaced.get(host) or replaced.get(short)
            new = known or f"h{len(set(replaced.values()))}"
            replaced |= {name: new for name in (host, short) if name and name not in _COMMON}
        replaced |= dict.fromkeys((u for u in users if len(u) > 2 and u not in _COMMON), "(user)")
        longest_first = sorted(replaced, key=len, reverse=True)
        names = "|".join(re.escape(name) for name in longest_first)
        self._names = re.compile(rf"(?<![\w])(?:{names})(?![\w])") if names else None
        self._replaced = replaced

    def text(self, text: str) -> str:
        text = _FOLDED.sub(self._folded, text)
        for pattern, word in _PATTERNS:
            text = pattern.sub(word, text)
        if self._names is None:
            return text
        return self._names.sub(lambda found: self._replaced[found.group()], text)

    def _folded(self, found: re.Match[str]) -> str:
        """Return the new names of several hosts that are written as one, such as `node[1-3,7]`."""
        try:
            hosts = parse_hosts(found[0])
        except RequestError:
            return found[0]
        if not any(host in self._replaced for host in hosts):
            return found[0]
        return fold_hosts(self._replaced.get(host, "(host)") for host in hosts)

    def value(self, value: Any) -> Any:
        """Scrub every text in a structure of lists and dictionaries, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if not _DROPPED.search(str(k))}
            return {self.value(k): self.value(v) for k, v in kept.items()}
        return value


def anonymise(runs: list[RunData]) -> list[RunData]:
    """Return the runs without names; one host has one new name in all of them."""
    scrubber = _Scrubber(_hosts(runs), _users(runs))
    return [_scrub(run, scrubber) for run in runs]


def _scrub(run: RunData, scrubber: _Scrubber) -> RunData:
    table = run.table.copy()
    # Kind O is text, whether this pandas calls it object or str.
    for column in [name for name in table if table[name].dtype.kind == "O"]:
        texts = [scrubber.value(value) for value in table[column]]
        table[column] = pd.Series(texts, index=table.index, dtype="object")
    score = msgspec.convert(scrubber.value(msgspec.to_builtins(run.score)), type(run.score))
    meta = _scrub_record(run.meta, _META_TEXTS, scrubber)
    parts = _scrub_record(run.parts, _PARTS_TEXTS, scrubber)
    parts.nodes = _scrub_nodes(run.parts.nodes, scrubber)
    return run._replace(meta=meta, parts=parts, table=table, score=score)


def _scrub_record(record: Record, names: Iterable[str], scrubber: _Scrubber) -> Record:
    """Return a copy of a record, with the texts scrubbed in these fields."""
    values = msgspec.structs.asdict(record)
    values |= {n: scrubber.value(msgspec.to_builtins(values[n])) for n in names}
    return msgspec.convert(values, type(record))


def _scrub_nodes(nodes: Nodes, scrubber: _Scrubber) -> Nodes:
    # The keys of facts are hashes, which an outsider could compare with those of another report.
    keys = {key: str(number) for number, key in enumerate(nodes.facts)}
    return Nodes(
        hosts={scrubber.text(host): keys.get(key, "") for host, key in nodes.hosts.items()},
        facts={keys[key]: scrubber.value(facts) for key, facts in nodes.facts.items()},
        paths=scrubber.value(nodes.paths),
        transports=msgspec.convert(
            scrubber.value(msgspec.to_builtins(nodes.transports)), list[Transport]
        ),
    )


def _hosts(runs: list[RunData]) -> list[str]:
    """Return every host name that the runs mention, in order of appearance."""
    found: dict[str, None] = {}
    for run in runs:
        found |= dict.fromkeys(run.parts.nodes.hosts)
        for column in ("src", "dst"):
            ends = run.table[column].dropna()
            found |= dict.fromkeys(host_of(str(end)) for end in ends.unique())
        found |= dict.fromkeys(
            str(facts["host"]) for facts in run.parts.nodes.facts.values() if facts.get("host")
        )
        made = run.meta.made
        if isinstance(made, Measured):
            found |= dict.fromkeys((*made.hosts, *filter(None, made.hosts.values())))
            found |= dict.fromkeys(_typed_hosts(made.flags.get("hosts")))
        for finding in run.parts.findings:
            parts = (split_part(part)[0] for part in finding.about.parts)
            found |= dict.fromkeys((*finding.about.hosts, *parts))
    # Advice and log lines may name the machine that the page is built on.
    found[socket.gethostname()] = None
    return [host for host in found if host]


def _typed_hosts(flag: object) -> tuple[str, ...]:
    """Return the hosts of a flag as it was typed, which a run of before may have alone."""
    try:
        return parse_hosts(flag) if isinstance(flag, str) else ()
    except RequestError:
        return tuple(re.split(r"[,\s:]+", str(flag)))


def _all_text(run: RunData) -> str:
    """Return all that a run holds of texts, but its plan and its table."""
    parts = msgspec.structs.replace(run.parts, plan=())
    return msgspec.json.encode((run.meta, parts)).decode()


def _users(runs: list[RunData]) -> set[str]:
    text = "\n".join(_all_text(run) for run in runs)
    found = set(_HOME.findall(text))
    with contextlib.suppress(OSError, KeyError):
        found.add(getpass.getuser())
    return found
