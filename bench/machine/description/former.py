"""Machine files of two grammars before this one.

What `run --machine` took was flat, and stored runs hold its text: it is translated here. What
`predict step` took was a table of a machine and a method together: it is refused with what to write
instead.
"""

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bench.core.errors import RequestError, nearest, printable
from bench.core.strict import convert_strictly
from bench.machine.catalogue import load
from bench.machine.description.parts import (
    Cpu,
    Description,
    Few,
    Memory,
    Network,
    Nic,
    Node,
)
from bench.machine.description.quantity import Frequency, LinkRate, Rate, Size

Positive = Annotated[float, Meta(gt=0, le=1e18)]


class Flat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The flat grammar: base units by name, no tables."""

    hosts: tuple[str, ...] = ()
    links: Few = 1
    payload_bytes_per_s: Positive | None = None
    link: str | None = None
    mtu_bytes: Annotated[int, Meta(ge=68, le=2**20)] | None = None
    burst_bytes: Positive | None = None
    reduces: bool = False
    memory_bytes_per_s: Positive | None = None
    cpu_hz: Positive | None = None
    subnets: tuple[str, ...] = ()
    rate_bits_per_s: Positive | None = None


_NOW = {
    "links": "node.nic.count",
    "payload_bytes_per_s": "node.nic.link",
    "link": "node.nic.link",
    "mtu_bytes": "node.nic.mtu",
    "burst_bytes": "node.nic.burst",
    "reduces": "network.reduces",
    "memory_bytes_per_s": "node.memory.bandwidth",
    "cpu_hz": "node.cpu.clock",
    "rate_bits_per_s": "node.nic.line",
}
_CLUSTER = {
    "nodes": "nodes",
    "gpu": "node.gpu.model",
    "gpus_per_node": "node.gpu.count",
    "intra": "node.gpu.link",
    "network": "node.nic.link",
    "latency": "network.latency",
}
_METHOD = ("dtype", "algorithm", "optimiser", "bucket")


def read_flat(document: dict[str, Any]) -> Description | None:
    """Return what a file of the flat grammar states; None where the file is of none.

    Raises:
        RequestError: where it is not valid, or half of it is of another grammar.
    """
    flat_keys = [key for key in document if key in _NOW or key == "subnets"]
    if not flat_keys:
        return None
    tables = [key for key, value in document.items() if isinstance(value, dict)]
    if tables:
        key = flat_keys[0]
        instead = f"write {_NOW[key]}" if key in _NOW else "leave it out"
        raise RequestError(f"{key}: does not go with a table; {instead} instead")
    flat = convert_strictly(document, Flat)
    if flat.link is not None:
        if flat.payload_bytes_per_s is not None:
            raise RequestError("link: its rate is in payload_bytes_per_s too; leave one out")
        names = load().link_names()
        if flat.link not in names:
            raise RequestError(
                f"link: {printable(flat.link)!r} is not valid; {nearest(flat.link, names)}"
            )
    return _translate(flat)


def _translate(flat: Flat) -> Description:
    link = None if flat.link is None else LinkRate(name=flat.link)
    line = None
    if flat.payload_bytes_per_s is not None:
        link = LinkRate(flat.payload_bytes_per_s)
        # Alone it was read past, and no bound came of it.
        line = None if flat.rate_bits_per_s is None else Rate(flat.rate_bits_per_s / 8)
    memory, clock, burst = flat.memory_bytes_per_s, flat.cpu_hz, flat.burst_bytes
    return Description(
        hosts=flat.hosts,
        node=Node(
            cpu=Cpu(clock=None if clock is None else Frequency(clock)),
            memory=Memory(bandwidth=None if memory is None else Rate(memory)),
            nic=Nic(
                count=flat.links,
                link=link,
                line=line,
                mtu=flat.mtu_bytes,
                burst=None if burst is None else Size(burst),
            ),
        ),
        network=Network(reduces=flat.reduces),
    )


def refuse_cluster(document: dict[str, Any]) -> None:
    """Refuse a `[cluster]` table, with the keys of this grammar that say the same.

    Raises:
        RequestError: where there is one.
    """
    table = document.get("cluster")
    if not isinstance(table, dict):
        return
    stated = {"nodes": 1, **table}
    machine = [f"{now} = {_value(stated[key])}" for key, now in _CLUSTER.items() if key in stated]
    line = f"cluster: this table is read no more; write instead, one a line: {'; '.join(machine)}"
    method = [f"method.{key} = {_value(table[key])}" for key in _METHOD if key in table]
    if method:
        line += f"; and at the head of the layers file: {'; '.join(method)}"
    raise RequestError(line)


def _value(value: object) -> str:
    if isinstance(value, str | int | float):
        return printable(json.dumps(value, ensure_ascii=False), 100)
    return '"..."'
