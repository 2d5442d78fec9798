"""A suite file: TOML to a checked `Suite`; what is wrong is named by its key's path.

    [suite]
    name = "network"
    launches = 10
    seed = 1
    cap_s = 2.0
    budget = "10 min"

    [[benchmark]]
    name = "latency"
    bytes = { from = "1 B", to = "4 MiB", per_octave = 1 }

Every other key of a benchmark is one of its axes: one value, a list, or a range; but
`evidence = true` asks for control runs that show which path its messages take, and `calibrate` sets
whether models are fitted on all of its cases or on none of them.
"""

import re
from pathlib import Path
from typing import Any

import msgspec

from bench.contracts import AxisSpec, Measurement
from bench.core.errors import RequestError, SuiteError, nearest, printable
from bench.core.records import Axis
from bench.core.toml import (
    as_integer,
    as_list,
    as_table,
    as_text,
    as_truth,
    kind_of,
    parse_toml,
    read_text,
    refuse_unknown,
)
from bench.core.units import parse_bytes, parse_seconds
from bench.measure import MEASUREMENTS

MOST_VALUES = 100_000
MOST_LAUNCHES = 10_000
MOST_BUDGET_S = 3.6e6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


_HEAD = ("name", "description", "launches", "seed", "cap_s", "budget")


class Block(msgspec.Struct, frozen=True):
    """One `[[benchmark]]` table: every axis of the benchmark with its values."""

    benchmark: str
    axes: dict[str, tuple[Axis, ...]]
    evidence: bool = False
    """Whether the path of its messages is to be proven, by traces and control runs."""
    calibrate: bool | None = None
    """Whether models are fitted on all its cases or on none; None for a third of the sizes."""
    on_every_node: bool = False
    """Whether the file leaves its ranks open, and it measures every node for itself."""


class Suite(msgspec.Struct, frozen=True):
    """A checked suite file."""

    name: str
    text: str
    launches: int
    seed: int
    cap_s: float
    blocks: tuple[Block, ...]
    description: str = ""
    budget_s: float | None = None
    """Seconds that a run may take; None for as long as it takes."""


def suite_folder() -> Path:
    """Return the folder of the suites that come with the program."""
    package = Path(__file__).parents[1]
    installed = package / "suites"
    return installed if installed.is_dir() else package.parent / "suites"


def suite_names() -> list[str]:
    """Return the names of the suites that come with the program."""
    return sorted(path.stem for path in suite_folder().glob("*.toml"))


def load_suite(name: str) -> Suite:
    """Load a suite by name (`quick`) or by path (`./mine.toml`).

    Raises:
        SuiteError: where it is not found or not valid.
    """
    shown = printable(name, 400)
    path = Path(name)
    if "/" not in name and not name.endswith(".toml"):
        if name not in suite_names():
            raise SuiteError(
                f"no suite named {shown!r}: {nearest(name, suite_names())} "
                "(a file of your own is given by its path, such as ./mine.toml)"
            )
        path = suite_folder() / f"{name}.toml"
    try:
        text = read_text(path, "suite")
    except RequestError as error:
        raise SuiteError(f"{shown}: {error}") from error
    return parse_suite(text, shown)


def parse_suite(text: str, source: str) -> Suite:
    """Check the text of a suite file; `source` begins every message.

    Raises:
        SuiteError: where it is not valid.
    """
    try:
        return _suite(parse_toml(text), text)
    except RequestError as error:
        raise SuiteError(f"{source}: {error}") from error


def _suite(document: dict[str, Any], text: str) -> Suite:
    refuse_unknown(document, "", ("suite", "benchmark"))
    head = _head(document.get("suite"))
    refuse_unknown(head, "suite", _HEAD)
    blocks = document.get("benchmark")
    if not blocks and (blocks is None or isinstance(blocks, list)):
        raise SuiteError("benchmark: missing; a suite needs at least one [[benchmark]] table")
    if not isinstance(blocks, list):
        raise SuiteError(f"benchmark: must be [[benchmark]] tables, not {kind_of(blocks)}")
    return Suite(
        name=_suite_name(head.get("name")),
        text=text,
        launches=as_integer(head.get("launches", 1), "suite.launches", 1, MOST_LAUNCHES),
        seed=as_integer(head.get("seed", 0), "suite.seed", 0, 2**63 - 1),
        cap_s=_seconds(head.get("cap_s", 5.0), "suite.cap_s"),
        blocks=tuple(_block(block, f"benchmark[{i}]") for i, block in enumerate(blocks)),
        description=as_text(head.get("description", ""), "suite.description"),
        budget_s=(
            parse_budget(as_text(head["budget"], "suite.budget"), "suite.budget")
            if "budget" in head
            else None
        ),
    )


def _head(value: object) -> dict[str, Any]:
    if value is None:
        raise SuiteError("suite: missing; a suite begins with a [suite] table")
    return as_table(value, "suite")


def _suite_name(value: object) -> str:
    if value is None:
        raise SuiteError('suite.name: missing; give the suite a name, such as name = "mine"')
    name = as_text(value, "suite.name")
    if not _NAME.fullmatch(name):
        raise SuiteError(
            f"suite.name: {printable(name)!r} is no name; use up to 64 letters, digits, '.', '_' "
            "and '-', beginning with a letter or digit"
        )
    return name


def _seconds(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SuiteError(f"{path}: must be a number of seconds, not {kind_of(value)}")
    if not 0.001 <= value <= 3600:
        raise SuiteError(f"{path}: {printable(value)} s is outside 0.001 to 3600 s")
    return float(value)


def parse_budget(text: str, source: str) -> float:
    """Return the seconds of a time budget, such as `60s` or `10 min`.

    Raises:
        RequestError: where the text is none; `source` begins the message.
    """
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise RequestError(
            f"{source}: {printable(text)!r} is no time; write such as '60s' or '10 min'"
        ) from error
    if not 1 <= seconds <= MOST_BUDGET_S:
        raise RequestError(f"{source}: {printable(text)} is outside 1 s to 1000 h")
    return seconds


def _block(value: object, path: str) -> Block:
    table = as_table(value, path)
    if "name" not in table:
        raise SuiteError(f"{path}.name: missing; {nearest('', MEASUREMENTS)}")
    name = as_text(table["name"], f"{path}.name")
    measurement = MEASUREMENTS.get(name)
    if measurement is None:
        raise SuiteError(
            f"{path}.name: no benchmark {printable(name)!r}; {nearest(name, MEASUREMENTS)}"
        )
    axes = [axis.name for axis in measurement.axes]
    refuse_unknown(table, path, ("name", "evidence", "calibrate", *axes))
    evidence = as_truth(table.get("evidence", False), f"{path}.evidence")
    if evidence and "path" not in axes:
        raise SuiteError(f"{path}.evidence: {name} has no path to prove; leave it out")
    calibrate = table.get("calibrate")
    if calibrate is not None:
        calibrate = as_truth(calibrate, f"{path}.calibrate")
    on_every_node = "ranks" not in table and measurement.profile.rows == "place"
    return Block(name, _axes(measurement, table, path), evidence, calibrate, on_every_node)


def _axes(
    measurement: Measurement, table: dict[str, Any], path: str
) -> dict[str, tuple[Axis, ...]]:
    return {
        axis.name: axis_values(axis, table[axis.name], f"{path}.{axis.name}")
        if axis.name in table
        else axis.default
        for axis in sorted(measurement.axes, key=lambda axis: axis.name)
    }


def axis_values(axis: AxisSpec, value: object, path: str) -> tuple[Axis, ...]:
    """Return the values that one key of a benchmark names: one value, a list, or a range.

    Raises:
        RequestError: where a value is of the wrong type or outside what the axis allows.
    """
    if isinstance(value, dict):
        values = _range(axis, value, path)
    elif isinstance(value, list):
        values = [_value(axis, item, f"{path}[{i}]") for i, item in enumerate(value)]
    else:
        values = [_value(axis, value, path)]
    if not values:
        raise SuiteError(f"{path}: empty; give it at least one value or leave it out")
    return tuple(dict.fromkeys(values))


def _value(axis: AxisSpec, value: object, path: str) -> Axis:
    if axis.kind is str:
        word = as_text(value, path)
        if word not in axis.choices:
            raise SuiteError(
                f"{path}: {printable(word)!r} is not a {axis.name}; {nearest(word, axis.choices)}"
            )
        return word
    return _limited(axis, _whole(axis, value, path), path)


def _whole(axis: AxisSpec, value: object, path: str) -> int:
    if isinstance(value, str) and axis.is_size:
        try:
            return parse_bytes(value)
        except ValueError as error:
            raise SuiteError(f"{path}: {printable(error, 120)}") from error
    if isinstance(value, bool) or not isinstance(value, int):
        wanted = "a whole number of bytes or a size such as '1 KiB'" if axis.is_size else ""
        raise SuiteError(f"{path}: must be {wanted or 'a whole number'}, not {kind_of(value)}")
    return value


def _limited(axis: AxisSpec, value: int, path: str) -> int:
    if not axis.least <= value <= axis.most:
        raise SuiteError(f"{path}: {printable(value)} is outside {axis.least} to {axis.most}")
    return value


def _range(axis: AxisSpec, table: dict[str, Any], path: str) -> list[Axis]:
    if axis.kind is str:
        raise SuiteError(f"{path}: a range needs numbers; list the words instead")
    keys = set(table)
    if keys == {"around"}:
        return _around(axis, table["around"], f"{path}.around")
    if keys == {"from", "to", "per_octave"}:
        return _geometric(axis, table, path)
    if keys == {"from", "to", "step"}:
        return _arithmetic(axis, table, path)
    refuse_unknown(table, path, ("around", "from", "to", "per_octave", "step"))
    raise SuiteError(
        f"{path}: a range is {{ from, to, per_octave }}, {{ from, to, step }} or {{ around }}"
    )


def _around(axis: AxisSpec, value: object, path: str) -> list[Axis]:
    centres = [_whole(axis, item, f"{path}[{i}]") for i, item in enumerate(as_list(value, path))]
    near = {c + step for c in centres for step in (-1, 0, 1)}
    return [_limited(axis, number, path) for number in sorted(near)]


def _ends(axis: AxisSpec, table: dict[str, Any], path: str) -> tuple[int, int]:
    low = _limited(axis, _whole(axis, table["from"], f"{path}.from"), f"{path}.from")
    high = _limited(axis, _whole(axis, table["to"], f"{path}.to"), f"{path}.to")
    if low > high:
        raise SuiteError(f"{path}: from {low} is above to {high}; exchange them")
    return low, high


def _geometric(axis: AxisSpec, table: dict[str, Any], path: str) -> list[Axis]:
    low, high = _ends(axis, table, path)
    density = table["per_octave"]
    if isinstance(density, bool) or not isinstance(density, int | float):
        raise SuiteError(f"{path}.per_octave: must be a number, not {kind_of(density)}")
    if not 0.01 <= density <= 64:
        raise SuiteError(f"{path}.per_octave: {printable(density)} is outside 0.01 to 64")
    if density > 1 and density != int(density):
        raise SuiteError(f"{path}.per_octave: {density} is neither whole nor a part of 1")
    if low == 0:
        raise SuiteError(f"{path}.from: octaves cannot start at 0; start at 1")
    # Even parts of an octave, 1 1.5 2 3 4 6 8, stay multiples of powers of two, as 2 ** (i / 2)
    # does not: unaligned messages are another measurement.
    parts, octaves = max(1, int(density)), max(1.0, 1 / density)
    values: set[int] = set()
    start = float(low)
    while start <= high:
        values |= {round(start * (1 + i / parts)) for i in range(parts)}
        start *= 2**octaves
    return sorted(value for value in values if value <= high)


def _arithmetic(axis: AxisSpec, table: dict[str, Any], path: str) -> list[Axis]:
    low, high = _ends(axis, table, path)
    step = _whole(axis, table["step"], f"{path}.step")
    if step < 1:
        raise SuiteError(f"{path}.step: {printable(step)} is not above 0")
    if (high - low) // step >= MOST_VALUES:
        raise SuiteError(f"{path}: over {MOST_VALUES} values; use a larger step")
    return list(range(low, high + 1, step))


def override_ranks(suite: Suite, ranks: int) -> Suite:
    """Return the suite with every benchmark on `ranks` ranks: the command line beats the file.

    Raises:
        RequestError: where a benchmark cannot run on so many.
    """
    blocks = []
    for block in suite.blocks:
        spec = next(a for a in MEASUREMENTS[block.benchmark].axes if a.name == "ranks")
        if not spec.least <= ranks <= spec.most:
            raise RequestError(
                f"-n {printable(ranks)}: {block.benchmark} runs on {spec.least} to {spec.most} "
                "ranks; choose another number or a suite without it"
            )
        axes = {**block.axes, "ranks": (ranks,)}
        blocks.append(msgspec.structs.replace(block, axes=axes, on_every_node=False))
    return msgspec.structs.replace(suite, blocks=tuple(blocks))


def fill_nodes(suite: Suite, nodes: int) -> Suite:
    """Return the suite with a rank on every node where it leaves the ranks of nodes open."""
    blocks = (
        msgspec.structs.replace(block, axes={**block.axes, "ranks": (nodes,)})
        if block.on_every_node
        else block
        for block in suite.blocks
    )
    return msgspec.structs.replace(suite, blocks=tuple(blocks))
