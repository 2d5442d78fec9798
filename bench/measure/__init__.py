"""The benchmarks by name; a new one is a file here and a line below."""

from importlib import import_module

from bench.contracts import Measurement

_FILES = (
    "latency",
    "bandwidth",
    "bibandwidth",
    "message_rate",
    "pairs",
    "multi_pair",
    "fan",
    "ring_shift",
    "verbs",
    "collectives",
    "overlap",
    "exchange.gradient",
    "memcpy",
    "copy",
    "peer_copy",
    "stream",
    "matmul",
    "split_matmul",
    "training.step",
)
"""Files of benchmarks, in the order in which a reader meets them; each has its `BENCHMARKS`."""


def _load() -> dict[str, Measurement]:
    """Return the benchmarks of all files by name."""
    found: dict[str, Measurement] = {}
    for file in _FILES:
        for measurement in import_module(f"{__name__}.{file}").BENCHMARKS:
            found[measurement.name] = measurement
    return found


MEASUREMENTS = _load()
