"""What a reader needs to trust the numbers: the machine, the method, and the words."""

import shlex
from collections.abc import Iterator

import msgspec
import pandas as pd

from bench.core.errors import printable
from bench.core.units import format_seconds
from bench.judge.table import measured
from bench.machine.direct_path import PathFacts, describe_paths
from bench.machine.facts import NodeFacts, facts_table
from bench.report.data import RunData
from bench.report.page import Block, Code, Fold, Paragraph, Table
from bench.store.meta import Imported, Measured
from bench.store.parts import Command

_SHOWN = 400
"""Characters of a cell."""
_STATISTICS = (
    "A sample is the time of one operation, averaged over as many as fill 20 µs. The time of a "
    "case in a launch is the median of its samples; no sample is removed. Over launches it is the "
    "median of those, with an order-statistics interval from six launches on. The interval of a "
    "single launch cannot see what changes from launch to launch."
)
_WORDS = (
    ("B, KiB, MiB", "bytes; 1 KiB is 1024 B and 1 MiB is 1024 KiB: sizes of messages and buffers"),
    ("GB/s", "1,000,000,000 bytes per second; not GiB/s, and not Gbit/s, which is an eighth"),
    ("TFLOP/s", "1e12 floating-point operations per second; a product of m x k by k x n has 2mnk"),
    ("messages/s", "messages that one rank sends per second; k is 1e3, M is 1e6"),
    ("ns, µs, ms", "1e-9, 1e-6 and 1e-3 seconds"),
    ("latency", "half the time of a message there and back"),
    ("window", "messages in flight before the sender waits for an answer"),
    ("bus bandwidth", "bytes / time of a collective call, times its share that a link must carry"),
    ("batch", "rows of the left matrix in a matrix product"),
    ("P90, P99", "the value that 90 or 99 of 100 stay below"),
    ("calibration case", "measured first, and used to fit the model that predicts the others"),
)


def machine(run: RunData) -> Iterator[Block]:
    """Yield the facts of each kind of node, once, with the hosts that share them."""
    for key, facts in run.parts.nodes.facts.items():
        alike = [host for host, their in run.parts.nodes.hosts.items() if their == key]
        if alike:
            yield Paragraph(f"{', '.join(alike)}:")
        try:
            rows = facts_table(msgspec.convert(facts, NodeFacts))
        except msgspec.ValidationError as error:
            yield Paragraph(f"The facts of this node cannot be read: {error}.")
        else:
            # One node gave its name; the line above names all that share these facts.
            shared = tuple(row for row in rows if row[0] != "Host" or not alike)
            yield Table(("Part", "Fact"), shared, frozenset({0, 1}))
    if run.parts.nodes.transports:
        yield Table(
            ("Hosts", "What was seen to carry messages"), _transports(run), frozenset({0, 1})
        )
    if run.parts.nodes.paths:
        yield Table(("Host", "What it allows of the direct path"), _paths(run), frozenset({0, 1}))
    if not run.parts.nodes.facts:
        yield Paragraph(
            f"No facts were stored. Hosts: {', '.join(run.parts.nodes.hosts) or 'unknown'}."
        )


def _transports(run: RunData) -> tuple[tuple[str, str], ...]:
    """Return what carried messages, hosts between which it was the same together."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for each in run.parts.nodes.transports:
        hosts.setdefault((each.between, each.describe()), []).append(" and ".join(each.hosts))
    return tuple(
        (printable(f"{', '.join(names)} ({where})", _SHOWN), printable(what, _SHOWN))
        for (where, what), names in hosts.items()
    )


def _paths(run: RunData) -> tuple[tuple[str, str], ...]:
    """Return what each host allows, hosts that allow the same together."""
    hosts: dict[str, list[str]] = {}
    for host, facts in run.parts.nodes.paths.items():
        try:
            text = describe_paths(msgspec.convert(facts, PathFacts))
        except msgspec.ValidationError as error:
            text = f"cannot be read: {error}"
        hosts.setdefault(text, []).append(host)
    return tuple((", ".join(names), text) for text, names in hosts.items())


def method(run: RunData) -> Iterator[Block]:
    """Yield what was asked for, what was started, and how times became numbers."""
    meta = run.meta
    rows = (
        ("Run", f"{meta.run}, {meta.origin.value}, clusterbench {meta.version}"),
        ("Started, ended", f"{meta.started_utc}, {meta.finished_utc or 'not recorded'}"),
        ("Outcome", meta.outcome or "the end was not recorded"),
        ("Suite", f"{meta.suite_name}, {len(run.parts.plan)} jobs, {len(run.table)} planned rows"),
        *_how(meta.made),
        ("Ranks, threads", _shapes(run)),
        ("Time per case", _caps(run)),
        ("Timing layer", _values(run.table, "timing_layer")),
        ("Thread level", _values(run.table, "thread_level")),
        ("Statistic", _values(run.table, "statistic")),
    )
    yield Table(("What", "How"), rows, frozenset({0, 1}))
    yield Paragraph(_STATISTICS)
    if run.parts.commands:
        text = "\n".join(_command_text(command) for command in run.parts.commands)
        yield Fold(f"Commands: {len(run.parts.commands)}", (Code(text),))
    yield Fold("Suite", (Code(run.parts.suite_text),))
    if run.parts.machine_text:
        yield Fold("Machine file", (Code(run.parts.machine_text),))


def _how(made: Measured | Imported) -> tuple[tuple[str, str], ...]:
    """Return who measured: jobs of a plan, or another tool."""
    if isinstance(made, Imported):
        return (
            ("Tool", f"{made.tool} {made.tool_version or '(version unknown)'}"),
            ("Read from", ", ".join(made.sources)),
        )
    return (
        ("Launches, seed", f"{made.launches}, order of cases shuffled with seed {made.seed}"),
        ("Flags", ", ".join(f"{k}={v}" for k, v in made.flags.items()) or "none"),
        ("Launcher", made.launcher),
        ("MPI", ", ".join(f"{k} {v}" for k, v in made.mpi.items() if v) or "none"),
    )


def _command_text(command: Command) -> str:
    """Return a command as a shell would take it, with what was added to the environment."""
    env = (f"{name}={value}" for name, value in command.env.items())
    return f"# {command.job}, attempt {command.attempt}\n{shlex.join((*env, *command.tokens))}"


def glossary() -> Block:
    """Return a line for each unit and word."""
    return Table(("Word", "Meaning"), _WORDS, frozenset({0, 1}))


def _shapes(run: RunData) -> str:
    shapes = sorted({(job.ranks, job.threads) for job in run.parts.plan})
    counts = (f"{ranks} x {threads or 'all cores'}" for ranks, threads in shapes)
    return ", ".join(counts) or "unknown"


def _caps(run: RunData) -> str:
    caps = sorted({job.sampling.cap_s for job in run.parts.plan})
    return f"at most {', '.join(map(format_seconds, caps))} of samples" if caps else "unknown"


def _values(table: pd.DataFrame, column: str) -> str:
    return ", ".join(sorted(map(str, measured(table)[column].dropna().unique()))) or "unknown"
