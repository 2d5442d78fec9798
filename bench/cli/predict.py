"""The commands `predict ...`: a model's answer for stated hardware, no run needed.

Options are read here, models are imported inside the commands, so that `--help` is instant.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from bench.cli.ending import Ending
from bench.cli.verb import VerbGroup
from bench.core.errors import RequestError
from bench.core.units import parse_bytes, parse_rate, parse_seconds

if TYPE_CHECKING:
    from bench.predict.answer import Answer
    from bench.predict.model.datasheet.collectives import Cluster

    _ParamType = click.ParamType[Any]
else:
    # Generic only from click 8.5 on.
    _ParamType = click.ParamType

Command = TypeVar("Command", bound=Callable[..., Any])

ALGORITHMS = (
    "naive", "ring", "recursive-doubling", "rabenseifner", "binomial", "hierarchical",
    "pipelined", "bound",
)  # fmt: skip
DTYPES = ("fp64", "fp32", "fp16", "bf16")
MOST_BYTES = 2**62
MOST_NODES = 1_000_000
MOST_GPUS = 1024
MOST_DIMENSION = 2**31


class _Measure(_ParamType):
    """Text with a unit; what is wrong with it becomes the one line of a usage error."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def _bytes(text: str) -> int:
    size = (
        int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else parse_bytes(text)
    )
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes are more than any memory holds")
    return size


def _rate_or_link(text: str) -> float:
    """Return bytes per second, of a rate or of a link of the catalogue, at its payload rate."""
    if not text[:1].isdigit() or text.endswith("gbe"):
        from bench.predict.datasheet import rate_of

        return rate_of(text)
    rate = parse_rate(text)
    if not rate:
        raise ValueError("a rate of 0 carries nothing; give one above 0")
    return rate


BYTES = _Measure("size", _bytes)
RATE = _Measure("rate", _rate_or_link)
SECONDS = _Measure("duration", parse_seconds)


def _as_json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, exact.")(command)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
def predict() -> None:
    """A model's answer for stated hardware, from datasheets; no run needed."""


@predict.command()
@click.option("--bytes", "size", type=BYTES, required=True, help="Size, such as 4MB.")
@click.option("--link", required=True, metavar="NAME", help="Link, such as qdr or pcie3-x16.")
@click.option(
    "--path",
    type=click.Choice(["direct", "staged"]),
    default="direct",
    show_default=True,
    help="Staged copies device memory through the host.",
)
@click.option(
    "--host-link",
    default="pcie3-x16",
    show_default=True,
    metavar="NAME",
    help="Link between GPU and host, as negotiated; for staged.",
)
@click.option("--nic", metavar="NAME", help="Adapter, such as connectx-2: its slot is a hop too.")
@click.option(
    "--hop",
    "hops",
    multiple=True,
    metavar="NAME",
    help="A further link on the way, as negotiated, such as pcie2-x8.",
)
@click.option(
    "--protocol",
    type=click.Choice(["tcp", "roce"]),
    default="tcp",
    show_default=True,
    help="Over Ethernet.",
)
@click.option(
    "--mtu", type=click.IntRange(256, 65_520), metavar="N", help="Bytes of a packet, if known."
)
@click.option(
    "--pcie-payload",
    type=click.Choice(["128", "256", "512", "1024", "2048", "4096"]),
    default="256",
    show_default=True,
    help="Maximum payload size of PCIe.",
)
@click.option(
    "--latency",
    "latency_s",
    type=SECONDS,
    default=0.0,
    metavar="TIME",
    help="Of one message; 0 if not given.",
)
@_as_json
def transfer(
    as_json: bool, protocol: str, mtu: int | None, pcie_payload: str, **asked: Any
) -> Ending:
    """One transfer over a link: with packet headers, from best to worst packets."""
    from bench.predict.datasheet import TransferRequest, predict_transfer
    from bench.predict.hardware import Packets

    packets = Packets(protocol, mtu, int(pcie_payload))
    return _answer(predict_transfer(TransferRequest(packets=packets, **asked)), as_json)


@predict.command()
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    required=True,
    help="How ranks exchange; bound: what none beats.",
)
@click.option("--nodes", type=click.IntRange(1, MOST_NODES), required=True, help="Nodes.")
@click.option("--gpus-per-node", "gpus", type=click.IntRange(1, MOST_GPUS), help="GPUs of a node.")
@click.option("--bytes", "size", type=BYTES, required=True, help="Size of every rank's buffer.")
@click.option(
    "--network",
    type=RATE,
    metavar="RATE|LINK",
    help="Payload rate of a node and direction, such as 5GB/s, or a link's name.",
)
@click.option(
    "--intra",
    type=RATE,
    metavar="RATE|LINK",
    help="The same of a GPU inside its node; free if not given.",
)
@click.option("--node", metavar="NAME", help="A node of the catalogue, such as p5, for all three.")
@click.option(
    "--latency",
    "latency_s",
    type=SECONDS,
    default=0.0,
    metavar="TIME",
    help="Of one message; 0 if not given.",
)
@_as_json
def exchange(algorithm: str, size: int, node: str | None, as_json: bool, **asked: Any) -> Ending:
    """An all-reduce between the GPUs of some nodes."""
    from bench.predict.datasheet import predict_exchange

    return _answer(predict_exchange(algorithm, _cluster(node, **asked), size, node), as_json)


@predict.command()
@click.option("--m", type=click.IntRange(1, MOST_DIMENSION), required=True, help="Rows (batch).")
@click.option("--k", type=click.IntRange(1, MOST_DIMENSION), required=True, help="Inner size.")
@click.option("--n", type=click.IntRange(1, MOST_DIMENSION), required=True, help="Columns.")
@click.option("--gpu", required=True, metavar="NAME", help="GPU, such as gtx-titan.")
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True)
@click.option(
    "--launch",
    "launch_s",
    type=SECONDS,
    default=0.0,
    metavar="TIME",
    help="Of a kernel; 0 if not given.",
)
@_as_json
def matmul(m: int, k: int, n: int, gpu: str, dtype: str, launch_s: float, as_json: bool) -> Ending:
    """A matrix product C[m, n] = A[m, k] B[k, n] on one GPU."""
    from bench.predict.datasheet import predict_matmul

    return _answer(predict_matmul((m, k, n), gpu, dtype, launch_s), as_json)


@predict.command()
@click.option(
    "--batch",
    type=click.IntRange(1, MOST_DIMENSION),
    required=True,
    help="Examples of all ranks together.",
)
@click.option(
    "--d-in", type=click.IntRange(1, MOST_DIMENSION), required=True, help="Rows of the weights."
)
@click.option(
    "--d-out", type=click.IntRange(1, MOST_DIMENSION), required=True, help="Columns of the weights."
)
@click.option(
    "--ranks", type=click.IntRange(1, MOST_NODES), required=True, help="That share the layer."
)
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True)
@click.option(
    "--network",
    type=RATE,
    metavar="RATE|LINK",
    help="Payload rate of a rank and direction, for seconds.",
)
@_as_json
def split(as_json: bool, **asked: Any) -> Ending:
    """What data and model parallelism make each rank exchange for one dense layer."""
    from bench.predict.datasheet import predict_split

    return _answer(predict_split(**asked), as_json)


@predict.command()
@click.option(
    "--machine",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="A machine file, as `run` takes it: GPUs and links.",
)
@click.option(
    "--layers",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="[[layer]] tables: d_in, d_out; and the [method].",
)
@click.option(
    "--batch",
    type=click.IntRange(1, MOST_DIMENSION),
    required=True,
    help="Examples of all GPUs together.",
)
@click.option(
    "--parallel",
    type=click.Choice(["data", "model", "hybrid", "best"]),
    default="best",
    show_default=True,
    help="How the work is shared out.",
)
@_as_json
def step(machine: Path, layers: Path, batch: int, parallel: str, as_json: bool) -> Ending:
    """One training step of a network of dense layers."""
    from bench.machine.description import load_description
    from bench.predict.layers_file import load_layers
    from bench.predict.step import predict_step

    return _answer(
        predict_step(load_description(machine), load_layers(layers), batch, parallel), as_json
    )


def _cluster(
    node: str | None,
    nodes: int,
    gpus: int | None,
    network: float | None,
    intra: float | None,
    latency_s: float,
) -> "Cluster":
    from bench.predict.datasheet import node_cluster
    from bench.predict.model.datasheet.collectives import Cluster

    if node is not None:
        known = node_cluster(node, nodes, latency_s)
        return Cluster(
            nodes, gpus or known.gpus, network or known.network, intra or known.intra, latency_s
        )
    if network is None and nodes > 1:
        raise RequestError("several nodes need --network, such as 5GB/s or qdr")
    return Cluster(nodes, gpus or 1, network or float("inf"), intra, latency_s)


def _answer(prediction: "Answer", as_json: bool) -> Ending:
    return Ending(partial(_print_as_json if as_json else _print, prediction))


def _print_as_json(prediction: "Answer") -> None:
    print(json.dumps(prediction.as_dict(), indent=1, allow_nan=False))


def _print(prediction: "Answer") -> None:
    from bench.predict.answer import prediction_text

    print("\n".join(prediction_text(prediction)))
