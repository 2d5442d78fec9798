"""A lab by the machine file that `run --machine` and `predict step --machine` take."""

from pathlib import Path

from labkit.cluster import (
    FRAME_BYTES,
    HOST_LIMITS,
    LINK_LIMITS,
    MTU_LIMITS,
    RATE_LIMITS,
    TCP_BYTES,
    Cluster,
    check_range,
)
from labkit.errors import LabError

DEFAULT_MTU = 9000


def read_machine(path: Path, hosts: int | None) -> Cluster:
    """Return the cluster that a machine file describes, with hosts of the lab's own names.

    Its links do what the file says of one adapter: the line where it is stated, else the line that
    carries the payload.

    Args:
        path: of the file.
        hosts: how many, where the file does not say it.
    """
    try:
        from bench.core.errors import RequestError
        from bench.machine.catalogue import load
        from bench.machine.description import load_description
        from bench.predict.hardware import payload_rate
    except ModuleNotFoundError as error:
        raise LabError(
            f"--machine needs the Python that clusterbench is installed in ({error.name} is "
            "missing here); start it as .venv/bin/python scripts/lab ..."
        ) from error
    try:
        described = load_description(path)
        nic = described.node.nic
        if nic.line is None and nic.link is None:
            raise LabError(f"{path}: node.nic.link: missing; the lab has no rate for its links")
        line = None if nic.line is None else nic.line.at("middle")
        if line is None and nic.link is not None and nic.link.name is not None:
            # The catalogue has what a link carries before packets have headers.
            line = payload_rate(nic.link.name, load())
    except RequestError as error:
        raise LabError(str(error)) from error
    count = hosts or described.count_nodes()
    if count is None:
        raise LabError(f"{path}: nodes: missing; say how many there are, or give --hosts")
    mtu = check_range("node.nic.mtu", nic.mtu or DEFAULT_MTU, MTU_LIMITS)
    if line is None and nic.link is not None:
        line = nic.link.at("middle") * (mtu + FRAME_BYTES) / (mtu - TCP_BYTES)
    return Cluster(
        hosts=tuple(f"h{n}" for n in range(1, check_range("nodes", count, HOST_LIMITS) + 1)),
        rate_bits_per_s=check_range("bit/s of node.nic.link", round((line or 0) * 8), RATE_LIMITS),
        mtu_bytes=mtu,
        links=check_range("node.nic.count", nic.count, LINK_LIMITS),
    )
