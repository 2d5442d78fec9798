"""E3: bytes that network cards and GPUs count by themselves, read around the samples of a case.

Reading them takes some microseconds and lies outside every timed region; what a case moved is the
difference. Other traffic of the node is in it too.
"""

from collections.abc import Iterable
from pathlib import Path

from bench.core.events import Counter
from bench.machine.sysfs import list_folder, list_numbered, read_natural
from bench.rank.gpu_counters import read_gpu_bytes

WORD_BYTES = 4
"""port_xmit_data counts words of four bytes (InfiniBand architecture, PortCounters)."""
_SATURATED = 2**32 - 1
"""Where an old card's counter of 32 bits stops."""


def read_counters(root: Path = Path("/"), gpus: bool = False) -> tuple[Counter, ...]:
    """Return the counters of the node below `root`, those of its GPUs where asked for."""
    found = [*_read_ethernet(root), *_read_infiniband(root)]
    if gpus and root == Path("/"):
        found += [
            Counter(gpu.kind, f"gpu{gpu.index}", gpu.sent, gpu.received) for gpu in read_gpu_bytes()
        ]
    return tuple(found)


def count_between(before: Iterable[Counter], after: Iterable[Counter]) -> tuple[Counter, ...]:
    """Return what devices counted in between; none of a device that was reset or stands still."""
    old = {(counter.kind, counter.device): counter for counter in before}
    found = []
    for new in after:
        begin = old.get((new.kind, new.device))
        if begin is None:
            continue
        sent, received = new.sent - begin.sent, new.received - begin.received
        if sent >= 0 and received >= 0 and sent + received > 0:
            found.append(Counter(new.kind, new.device, sent, received, begin.sent, begin.received))
    return tuple(found)


def _read_ethernet(root: Path) -> list[Counter]:
    found = []
    for folder in list_folder(root / "sys/class/net"):
        # A bond, a bridge or a VLAN counts again what the interfaces below it have counted.
        stacked = any(entry.name.startswith("lower_") for entry in list_folder(folder))
        sent = read_natural(folder / "statistics/tx_bytes")
        received = read_natural(folder / "statistics/rx_bytes")
        if folder.name != "lo" and not stacked and sent is not None and received is not None:
            found.append(Counter("ethernet", folder.name, sent, received))
    return found


def _read_infiniband(root: Path) -> list[Counter]:
    found = []
    for device in list_folder(root / "sys/class/infiniband"):
        for number, port in list_numbered(device / "ports", ""):
            sent = read_natural(port / "counters/port_xmit_data")
            received = read_natural(port / "counters/port_rcv_data")
            if sent is None or received is None or _SATURATED in (sent, received):
                continue
            name = f"{device.name}:{number}"
            found.append(Counter("infiniband", name, sent * WORD_BYTES, received * WORD_BYTES))
    return found
