"""The sides of a comparison: which runs are launches of which, and their lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from bench.core.errors import RequestError, printable
from bench.judge.runs import label_runs
from bench.judge.table import load
from bench.store.ab import SIDES, is_ab, read_ab
from bench.store.folder import RunFolder, open_run

BLOCK = "block"
"""Column: what launches of both sides that were measured next to each other share; NaN else."""
PAIR = "pair"
"""Column: of a crossover the number of the hosts that a launch ran on; NaN else."""


class Side(NamedTuple):
    """What is compared as one: the launches of one run, or of several."""

    label: str
    """What people call it; no two sides have one label."""
    runs: tuple[RunFolder, ...]
    blocks: Mapping[int, int] = MappingProxyType({})
    """By launch, what it shares with one of the other side, where the two were interleaved."""
    pairs: Mapping[int, int] = MappingProxyType({})
    """By launch, the number of the hosts that it ran on, where pairs of hosts crossed over."""


def open_sides(paths: Sequence[Path], by_label: bool = False) -> tuple[Side, ...]:
    """Return the sides that these folders are, the baseline first.

    Args:
        paths: run folders, or the one folder of an interleaved comparison.
        by_label: pool the runs of one `--label` as launches of one side.

    Raises:
        RequestError: where these are no two sides, one run is named twice, or a run has no label.
    """
    if len(paths) == 1 and is_ab(paths[0]):
        return _open_ab(paths[0])
    runs = [open_run(path) for path in paths]
    _refuse_twice(runs)
    if by_label:
        sides = _pool(runs)
    else:
        labels = label_runs(len(runs))
        sides = tuple(Side(label, (run,)) for label, run in zip(labels, runs, strict=True))
    if len(sides) < 2:
        what = f"label {sides[0].label!r}" if by_label else "run"
        raise RequestError(
            f"one {what} alone is nothing to compare: name two, the baseline first, such as "
            "`clusterbench compare results/OLD results/NEW`"
        )
    return sides


def load_side(side: Side) -> pd.DataFrame:
    """Return the lines of all runs of a side, as `load` does; `run` tells its runs apart.

    Raises:
        RequestError: where a file of a run is damaged.
    """
    tables = [
        table.assign(
            run=place,
            **{
                BLOCK: table["launch"].map(side.blocks).astype(float),
                PAIR: table["launch"].map(side.pairs).astype(float),
            },
        )
        for place, table in enumerate(map(load, side.runs))
    ]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def label_of(run: RunFolder) -> str | None:
    """Return the word that was kept with a run, None where there is none."""
    made = run.meta.made
    label = getattr(made, "flags", {}).get("label")
    return label if isinstance(label, str) and label else None


def _open_ab(folder: Path) -> tuple[Side, ...]:
    """Return the two sides of an interleaved comparison, with what its schedule says of them."""
    record = read_ab(folder)
    kept = [record.sides[side].sets.get("label") for side in SIDES]
    labels = [printable(label, 40) for label in kept if label]
    labels = list(label_runs(len(SIDES), labels if len(labels) == len(SIDES) else ()))
    numbers = {
        hosts: number for number, hosts in enumerate(sorted({s.hosts for s in record.slots}))
    }
    found = []
    for label, side in zip(labels, SIDES, strict=True):
        slots = [slot for slot in record.slots if slot.side == side]
        blocks = {slot.launch: slot.block for slot in slots if slot.block is not None}
        pairs = {slot.launch: numbers[slot.hosts] for slot in slots if slot.hosts}
        found.append(Side(label, (open_run(folder / side),), blocks, pairs))
    return tuple(found)


def _refuse_twice(runs: Sequence[RunFolder]) -> None:
    """Refuse copies of one run: what is compared with itself is the same, whatever it is."""
    seen: dict[str, RunFolder] = {}
    for run in runs:
        first = seen.setdefault(run.meta.run, run)
        if first is not run:
            raise RequestError(
                f"{printable(first.path, 300)} and {printable(run.path, 300)} are one run "
                f"({printable(run.meta.run, 100)}): compared with itself a run says nothing; "
                "measure it again, and compare the two"
            )


def _pool(runs: Sequence[RunFolder]) -> tuple[Side, ...]:
    sides: dict[str, list[RunFolder]] = {}
    for run in runs:
        label = label_of(run)
        if label is None:
            raise RequestError(
                f"{printable(run.path, 300)} has no label, which --by-label needs: measure with "
                "`clusterbench run SUITE --label WORD`, or leave --by-label out"
            )
        sides.setdefault(printable(label, 40), []).append(run)
    return tuple(Side(label, tuple(pooled)) for label, pooled in sides.items())
