"""One training step predicted for GPUs and links of the catalogue and the layers of a network."""

from collections.abc import Callable, Sequence
from math import inf

import msgspec

from bench.core.errors import RequestError
from bench.machine.catalogue import Catalogue, find, load
from bench.predict.answer import Answer
from bench.predict.hardware import ELEMENT_BYTES, MOST_RANKS, payload_rate, processor
from bench.predict.model.datasheet.collectives import Cluster
from bench.predict.model.datasheet.step import (
    Layer,
    Step,
    Training,
    data_step,
    hybrid_step,
    model_step,
)
from bench.predict.step_files import TrainingCluster


def predict_step(
    cluster: TrainingCluster, layers: Sequence[Layer], batch: int, parallel: str
) -> Answer:
    """Predict one training step.

    Args:
        cluster: GPUs, links and method.
        layers: in forward order.
        batch: examples of all GPUs together.
        parallel: data, model, hybrid or best; best is the fastest that fits into memory.

    Raises:
        RequestError: where hardware is unknown, or a hybrid of one layer is asked for.
    """
    catalogue = load()
    gpu = find(catalogue.gpus, cluster.gpu, "GPU")
    training = _training(cluster, catalogue)
    memory = gpu.memory.nbytes // gpu.dies
    asked = [parallel] if parallel != "best" else [w for w in STEPS if _possible(w, layers)]
    if not all(_possible(way, layers) for way in asked):
        raise RequestError("a hybrid needs two layers: data parallel first, split from then on")
    steps = {way: STEPS[way](layers, batch, training) for way in asked}
    way = min(steps, key=lambda w: (steps[w].memory_bytes > memory, steps[w].seconds))
    step = steps[way]
    return Answer(
        step.seconds,
        step.low_s,
        step.high_s,
        "forward + max(backward, all-reduces of buckets) + optimiser bytes / bandwidth; "
        "from everything at once to one after the other",
        _step_limit(step),
        {
            "cluster": msgspec.structs.asdict(cluster),
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
            "fits": step.memory_bytes <= memory,
            "by_parallel_s": {name: other.seconds for name, other in steps.items()},
        },
    )


STEPS: dict[str, Callable[[Sequence[Layer], int, Training], Step]] = {
    "data": data_step,
    "model": model_step,
    "hybrid": hybrid_step,
}


def _training(cluster: TrainingCluster, catalogue: Catalogue) -> Training:
    def rate(text: str | float | None) -> float | None:
        return payload_rate(text, catalogue) if isinstance(text, str) else text

    network, intra = rate(cluster.network), rate(cluster.intra)
    if network is None and cluster.nodes > 1:
        raise RequestError("cluster.network: missing; several nodes need one, such as 'qdr'")
    if intra is None and cluster.gpus_per_node > 1:
        raise RequestError(
            "cluster.intra: missing; several GPUs of a node need one, such as 'pcie3-x16'"
        )
    shape = Cluster(
        cluster.nodes,
        cluster.gpus_per_node,
        inf if network is None else network,
        intra,
        cluster.latency_s,
    )
    if shape.ranks > MOST_RANKS:
        raise RequestError(f"{shape.ranks} GPUs; at most {MOST_RANKS} are predicted")
    gpu = find(catalogue.gpus, cluster.gpu, "GPU")
    return Training(
        shape,
        processor(gpu, cluster.dtype),
        ELEMENT_BYTES[cluster.dtype],
        cluster.algorithm,
        cluster.optimiser,
        cluster.bucket,
    )


def _possible(way: str, layers: Sequence[Layer]) -> bool:
    return way != "hybrid" or len(layers) > 1


def _step_limit(step: Step) -> str:
    parts = {
        "computation": step.compute_s,
        "exchange that backward does not hide": step.exchange_s - step.hidden_s,
        "optimiser": step.optimiser_s,
    }
    return max(parts, key=lambda name: parts[name])
