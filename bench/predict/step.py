"""One training step predicted for GPUs and links of the catalogue and the layers of a network."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import msgspec

from bench.core.errors import RequestError
from bench.machine.catalogue import Catalogue, load
from bench.machine.description import Description
from bench.machine.description.quantity import ENDS, End
from bench.predict.answer import Answer
from bench.predict.described import (
    exchanging_cluster,
    gpu_memory,
    gpu_model,
    gpu_processor,
)
from bench.predict.hardware import ELEMENT_BYTES, MOST_RANKS
from bench.predict.layers_file import Method, Network
from bench.predict.model.datasheet.step import (
    Layer,
    Step,
    Training,
    data_step,
    hybrid_step,
    model_step,
)


def predict_step(machine: Description, network: Network, batch: int, parallel: str) -> Answer:
    """Predict one training step.

    Where the machine states ranges, `low_s` is of its fastest ends and `high_s` of its slowest.

    Args:
        machine: GPUs and links.
        network: layers and method.
        batch: examples of all GPUs together.
        parallel: data, model, hybrid or best; best is the fastest that fits into memory.

    Raises:
        RequestError: where hardware is unknown, or a hybrid of one layer is asked for.
    """
    catalogue, layers = load(), network.layers
    memory = gpu_memory(machine, catalogue)
    asked = [parallel] if parallel != "best" else [w for w in STEPS if _possible(w, layers)]
    if not all(_possible(way, layers) for way in asked):
        raise RequestError("a hybrid needs two layers: data parallel first, split from then on")
    training = {end: _training(machine, network.method, end, catalogue) for end in ENDS}
    steps = {way: STEPS[way](layers, batch, training["middle"]) for way in asked}

    def fits(step: Step) -> bool | None:
        return None if memory is None else step.memory_bytes <= memory

    way = min(steps, key=lambda w: (fits(steps[w]) is False, steps[w].seconds))
    step = steps[way]
    slow, fast = (
        step if training[end] == training["middle"] else STEPS[way](layers, batch, training[end])
        for end in ("slow", "fast")
    )
    return Answer(
        step.seconds,
        fast.low_s,
        slow.high_s,
        "forward + max(backward, all-reduces of buckets) + optimiser bytes / bandwidth; "
        "from everything at once to one after the other",
        _step_limit(step),
        {
            "machine": _inputs(machine, training["middle"], catalogue),
            "method": msgspec.structs.asdict(network.method),
            "layers": [msgspec.structs.asdict(layer) for layer in layers],
            "batch": batch,
            "parallel": parallel,
        },
        {
            "parallel": way,
            "splits": {x.name: s for x, s in zip(layers, step.splits, strict=True)},
            "compute_s": step.compute_s,
            "exchange_s": step.exchange_s,
            "hidden_s": step.hidden_s,
            "optimiser_s": step.optimiser_s,
            "memory_bytes": step.memory_bytes,
            "fits": fits(step),
            "by_parallel_s": {name: other.seconds for name, other in steps.items()},
        },
    )


STEPS: dict[str, Callable[[Sequence[Layer], int, Training], Step]] = {
    "data": data_step,
    "model": model_step,
    "hybrid": hybrid_step,
}


def _training(machine: Description, method: Method, end: End, catalogue: Catalogue) -> Training:
    cluster = exchanging_cluster(machine, method.algorithm, end, catalogue)
    if cluster.intra is None and cluster.gpus > 1:
        raise RequestError(
            "node.gpu.link: missing; several GPUs of a node need one, such as 'pcie3-x16'"
        )
    if cluster.ranks > MOST_RANKS:
        raise RequestError(f"{cluster.ranks} GPUs; at most {MOST_RANKS} are predicted")
    return Training(
        cluster,
        gpu_processor(machine, method.dtype, end, catalogue),
        ELEMENT_BYTES[method.dtype],
        method.algorithm,
        method.optimiser,
        method.bucket,
    )


def _inputs(machine: Description, training: Training, catalogue: Catalogue) -> dict[str, Any]:
    """Return what was taken of the machine, in base units; the middle of what is a range."""
    cluster, chip = training.cluster, training.processor
    return {
        "gpu": gpu_model(machine, catalogue),
        "nodes": cluster.nodes,
        "gpus_per_node": cluster.gpus,
        "network_bytes_per_s": None if cluster.network == inf else cluster.network,
        "intra_bytes_per_s": cluster.intra,
        "latency_s": cluster.latency_s,
        "peak_flop_per_s": chip.peak,
        "memory_bytes_per_s": chip.bandwidth,
        "source": machine.source,
    }


def _possible(way: str, layers: Sequence[Layer]) -> bool:
    return way != "hybrid" or len(layers) > 1


def _step_limit(step: Step) -> str:
    parts = {
        "computation": step.compute_s,
        "exchange that backward does not hide": step.exchange_s - step.hidden_s,
        "optimiser": step.optimiser_s,
    }
    return max(parts, key=lambda name: parts[name])
