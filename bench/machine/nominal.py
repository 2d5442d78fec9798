"""A machine as its seller describes it, from a file: rates that no host states of itself.

    hosts = ["h1", "h2"]               # left out: any host
    links = 1                          # of every host, used at once
    payload_bytes_per_s = 49502102.2   # of one link, one way, or
    link = "hdr"                       # a link of the catalogue
    mtu_bytes = 9000                   # of the link, where it is Ethernet
    burst_bytes = 12788                # what a shaped link lets pass at once after a pause
    reduces = false                    # whether switches add up what passes them
    memory_bytes_per_s = 204.8e9       # main memory of a host
    cpu_hz = 3.7e9                     # that no core of a host exceeds

`subnets` and `rate_bits_per_s`, which the lab writes too, are read past. Every key may be left out.
"""

import math
from pathlib import Path

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.toml import (
    as_integer,
    as_list,
    as_text,
    as_truth,
    as_word,
    kind_of,
    parse_toml,
    read_text,
    refuse_unknown,
)
from bench.machine.catalogue import load

_PASSED_OVER = ("subnets", "rate_bits_per_s")
_MOST = 1e18


class Nominal(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine file states; None where it does not."""

    hosts: tuple[str, ...] = ()
    links: int = 1
    payload_bytes_per_s: float | None = None
    link: str | None = None
    mtu_bytes: int | None = None
    burst_bytes: float = 0.0
    reduces: bool = False
    memory_bytes_per_s: float | None = None
    cpu_hz: float | None = None

    def names(self, host: str) -> bool:
        """Return whether the file describes a host, by its full name or the first part of it."""
        short = {name.partition(".")[0] for name in self.hosts}
        return not self.hosts or host.partition(".")[0] in short


MACHINE_KEYS = frozenset((*Nominal.__struct_fields__, *_PASSED_OVER))


def read_nominal(path: Path) -> str:
    """Return the text of a machine file, checked.

    Raises:
        RequestError: where it cannot be read or is not valid.
    """
    try:
        text = read_text(path, "machine")
        parse_nominal(text)
    except RequestError as error:
        raise RequestError(f"--machine {printable(path, 200)}: {error}") from error
    return text


def parse_nominal(text: str) -> Nominal:
    """Check the text of a machine file.

    Raises:
        RequestError: where it is not valid; the message begins with the key's path.
    """
    document = parse_toml(text)
    if "cluster" in document:
        raise RequestError(
            "this is a cluster file, of `predict step --cluster`; a machine file has no tables "
            "(docs/models.md)"
        )
    refuse_unknown(document, "", sorted(MACHINE_KEYS))
    rates = {
        key: _positive(document[key], key)
        for key in ("payload_bytes_per_s", "burst_bytes", "memory_bytes_per_s", "cpu_hz")
        if key in document
    }
    if "link" in document and "payload_bytes_per_s" in document:
        raise RequestError("link: its rate is in payload_bytes_per_s too; leave one of them out")
    hosts = as_list(document.get("hosts", []), "hosts")
    mtu = document.get("mtu_bytes")
    return Nominal(
        hosts=tuple(as_text(host, f"hosts[{i}]") for i, host in enumerate(hosts)),
        links=as_integer(document.get("links", 1), "links", 1, 1024),
        link=as_word(document["link"], "link", load().link_names()) if "link" in document else None,
        mtu_bytes=None if mtu is None else as_integer(mtu, "mtu_bytes", 68, 2**20),
        reduces=as_truth(document.get("reduces", False), "reduces"),
        **rates,
    )


def _positive(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{path}: must be a number, not {kind_of(value)}")
    if not math.isfinite(value) or not 0 < value <= _MOST:
        raise RequestError(f"{path}: {printable(value)} is no rate or size; give one above 0")
    return float(value)
