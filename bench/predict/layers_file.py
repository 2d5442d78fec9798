"""The layers file of `predict step`: a network, and the method that trains it.

[method]
dtype = "fp32"            # fp32, fp16 or bf16
algorithm = "ring"        # naive, ring or hierarchical
optimiser = "sgd"         # sgd, momentum, rmsprop or adam
bucket = "25 MB"          # gradients exchanged together; left out: each layer's alone

[[layer]]
name = "dense"
d_in = 1000
d_out = 1000
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bench.core.errors import RequestError, printable
from bench.core.strict import convert_strictly
from bench.core.toml import parse_toml, read_text
from bench.core.units import parse_bytes
from bench.predict.model.datasheet.step import Layer

Width = Annotated[int, Meta(ge=1, le=2**31)]


class _Bytes(int):
    """A size, read from text with its unit."""


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a step is done."""

    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    algorithm: Literal["naive", "ring", "hierarchical"] = "ring"
    optimiser: Literal["sgd", "momentum", "rmsprop", "adam"] = "sgd"
    bucket: _Bytes = _Bytes(0)
    """Bytes of gradients that are exchanged together; 0 exchanges each layer's alone."""


class Network(msgspec.Struct, frozen=True):
    """Layers in forward order, and the method."""

    layers: tuple[Layer, ...]
    method: Method = Method()


class _LayerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    d_in: Width
    d_out: Width
    name: str | None = None
    rows: Width = 1


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    layer: Annotated[tuple[_LayerTable, ...], Meta(min_length=1, max_length=500)]
    method: Method = Method()


def load_layers(path: Path) -> Network:
    """Read a layers file.

    Raises:
        RequestError: where it is not valid; the message has the path of the key.
    """
    try:
        return _parse(read_text(path, "layers"))
    except RequestError as error:
        raise RequestError(f"{printable(path, 400)}: {error}") from error


def _parse(text: str) -> Network:
    file = convert_strictly(parse_toml(text), _File, _read_bytes)
    layers = tuple(
        Layer(f"layer[{i}]" if table.name is None else table.name, table.d_in, table.d_out,
              table.rows)
        for i, table in enumerate(file.layer)
    )  # fmt: skip
    names = [layer.name for layer in layers]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise RequestError(f"layer: two are named {printable(twice)!r}; give each its own name")
    return Network(layers, file.method)


def _read_bytes(_kind: type, written: Any) -> _Bytes:
    if not isinstance(written, str):
        raise ValueError(f"{printable(written)} is no size; write such as '25 MB'")
    try:
        return _Bytes(parse_bytes(written))
    except ValueError as error:
        raise ValueError(printable(error, 200)) from error
