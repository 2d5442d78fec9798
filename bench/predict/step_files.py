"""The two files of `predict step`: a cluster with its method, and the layers of a network.

[cluster]
gpu = "gtx-titan"
nodes = 2
gpus_per_node = 3
network = "qdr"           # a link of the catalogue, or a payload rate such as "5 GB/s"
intra = "pcie3-x16"

[[layer]]
name = "dense"
d_in = 1000
d_out = 1000
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.toml import (
    as_integer,
    as_list,
    as_table,
    as_text,
    as_word,
    parse_toml,
    read_text,
    refuse_unknown,
)
from bench.core.units import parse_bytes, parse_rate, parse_seconds
from bench.machine.nominal import MACHINE_KEYS
from bench.predict.model.datasheet.collectives import GATHERS
from bench.predict.model.datasheet.step import STATES, Layer

_MOST_NODES = 1_000_000
_MOST_GPUS = 1024
_MOST_WIDTH = 2**31
_MOST_LAYERS = 500
_KEYS = (
    "gpu", "nodes", "gpus_per_node", "network", "intra", "latency", "dtype", "algorithm",
    "optimiser", "bucket",
)  # fmt: skip


Value = TypeVar("Value")


class TrainingCluster(msgspec.Struct, frozen=True):
    """GPUs, links between them by name or in bytes per second, and the method of the step."""

    gpu: str
    nodes: int
    gpus_per_node: int
    network: str | float | None
    intra: str | float | None
    latency_s: float
    dtype: str
    algorithm: str
    optimiser: str
    bucket: int


def load_cluster(path: Path) -> TrainingCluster:
    """Read a cluster file.

    Raises:
        RequestError: where it is not valid; the message has the path of the key.
    """
    return _load(path, "cluster", _cluster)


def load_layers(path: Path) -> tuple[Layer, ...]:
    """Read a layers file.

    Raises:
        RequestError: where it is not valid; the message has the path of the key.
    """
    return _load(path, "layers", _layers)


def _load(path: Path, what: str, read: Callable[[dict[str, Any]], Value]) -> Value:
    shown = printable(path, 400)
    try:
        return read(parse_toml(read_text(path, what)))
    except RequestError as error:
        raise RequestError(f"{shown}: {error}") from error


def _cluster(document: dict[str, Any]) -> TrainingCluster:
    if "cluster" not in document and document.keys() & MACHINE_KEYS:
        raise RequestError(
            "this is a machine file, of `run --machine` and `report --machine`; a cluster file has "
            "a [cluster] table with gpu, nodes and network (docs/models.md)"
        )
    refuse_unknown(document, "", ("cluster",))
    table = as_table(_needed(document, "cluster", ""), "cluster")
    refuse_unknown(table, "cluster", _KEYS)
    return TrainingCluster(
        gpu=as_text(_needed(table, "gpu", "cluster."), "cluster.gpu"),
        nodes=as_integer(table.get("nodes", 1), "cluster.nodes", 1, _MOST_NODES),
        gpus_per_node=as_integer(
            table.get("gpus_per_node", 1), "cluster.gpus_per_node", 1, _MOST_GPUS
        ),
        network=_rate(table, "network"),
        intra=_rate(table, "intra"),
        latency_s=_measure(table, "latency", "0 s", parse_seconds),
        dtype=as_word(table.get("dtype", "fp32"), "cluster.dtype", ("fp32", "fp16", "bf16")),
        algorithm=as_word(table.get("algorithm", "ring"), "cluster.algorithm", GATHERS),
        optimiser=as_word(table.get("optimiser", "sgd"), "cluster.optimiser", STATES),
        bucket=_measure(table, "bucket", "0 B", parse_bytes),
    )


def _layers(document: dict[str, Any]) -> tuple[Layer, ...]:
    refuse_unknown(document, "", ("layer",))
    tables = as_list(_needed(document, "layer", ""), "layer")
    if not 1 <= len(tables) <= _MOST_LAYERS:
        raise RequestError(f"layer: {len(tables)} tables; 1 to {_MOST_LAYERS} are predicted")
    layers = tuple(_layer(table, f"layer[{i}]") for i, table in enumerate(tables))
    names = [layer.name for layer in layers]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise RequestError(f"layer: two are named {printable(twice)!r}; give each its own name")
    return layers


def _layer(value: object, path: str) -> Layer:
    table = as_table(value, path)
    refuse_unknown(table, path, ("name", "d_in", "d_out", "rows"))
    return Layer(
        as_text(table.get("name", path), f"{path}.name"),
        as_integer(_needed(table, "d_in", f"{path}."), f"{path}.d_in", 1, _MOST_WIDTH),
        as_integer(_needed(table, "d_out", f"{path}."), f"{path}.d_out", 1, _MOST_WIDTH),
        as_integer(table.get("rows", 1), f"{path}.rows", 1, _MOST_WIDTH),
    )


def _needed(table: dict[str, Any], key: str, path: str) -> object:
    if key not in table:
        raise RequestError(f"{path}{key}: missing")
    return table[key]


def _rate(table: dict[str, Any], key: str) -> str | float | None:
    """Return bytes per second where the text begins with a digit, else the name of a link."""
    if key not in table:
        return None
    text = as_text(table[key], f"cluster.{key}")
    if not text[:1].isdigit() or text.endswith("gbe"):
        return text
    rate = _measure(table, key, "", parse_rate)
    if rate == 0:
        raise RequestError(f"cluster.{key}: 0 carries nothing; give a rate above 0")
    return rate


def _measure(table: dict[str, Any], key: str, default: str, parse: Callable[[str], Value]) -> Value:
    text = as_text(table.get(key, default), f"cluster.{key}")
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(f"cluster.{key}: {printable(error, 200)}") from error
