"""What host files are called, and what the `key=value` words after a host mean."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.core.errors import nearest

OPEN_MPI = "Open MPI's host file"
HYDRA = "a machine file of Hydra (MPICH, Intel MPI)"
MVAPICH = "MVAPICH's host file"
SLURM = "a host file of Slurm (SLURM_HOSTFILE)"
GRID_ENGINE = "Grid Engine's host file"
PAIRS = "hosts and counts in turn, as of LSF"
SLOT_LINES = "a node file with a line for each rank, as of PBS"
PLAIN = "a list of hosts"


class Key(NamedTuple):
    """What a `key=value` after a host means."""

    form: str
    passed_over: str = ""
    """What is said of it; empty where it is done."""


USER_NAMES = "user names: give them to ssh, in ~/.ssh/config"
_BINDING = "binding: ranks are bound as --bind says"
ADAPTERS = "adapters: name them in the environment, as UCX_NET_DEVICES or MV2_IBA_HCA"
_MOST_SLOTS = "the most slots: no host gets more ranks than its slots"
_PORTS = "ports: give them to ssh, in ~/.ssh/config"
_SHAPE = "boards, sockets and cores: every host is asked for them"
_INTERFACES = "interfaces: name them in the environment, as OMPI_MCA_btl_tcp_if_include"

COUNTS = ("slots", "cpu", "count")
MOST = tuple(f"{a}-{b}" for one in COUNTS for a, b in ((one, "max"), ("max", one)))
KEYS = {
    **dict.fromkeys(COUNTS, Key(OPEN_MPI)),
    **dict.fromkeys(MOST, Key(OPEN_MPI, _MOST_SLOTS)),
    **dict.fromkeys(("username", "user-name"), Key(OPEN_MPI, USER_NAMES)),
    "port": Key(OPEN_MPI, _PORTS),
    **dict.fromkeys(
        ("boards", "sockets", "sockets-per-board", "cores", "cores-per-socket"),
        Key(OPEN_MPI, _SHAPE),
    ),
    "user": Key(HYDRA, USER_NAMES),
    **dict.fromkeys(("binding", "bind"), Key(HYDRA, _BINDING)),
    **dict.fromkeys(("ifhn", "if", "iface", "netmask"), Key(HYDRA, _INTERFACES)),
    **dict.fromkeys(("ib", "hca", "device"), Key(HYDRA, ADAPTERS)),
}
"""By the key with `-` for `_`; MPIs take both."""


def advise_key(name: str, has_value: bool) -> str:
    """Return what is wrong with a word that is none of them, or lacks its value."""
    if name.replace("_", "-") in KEYS and not has_value:
        return f"no value; write it as {name}=4"
    return f"unknown in a host file; {nearest(name, [*COUNTS, *MOST, 'user', 'binding'])}"


def name_form(forms: Sequence[str], counted: bool) -> str:
    """Return what a file is taken for, by the forms of its lines and whether hosts have counts."""
    found = list(dict.fromkeys(forms))
    if MVAPICH in found and HYDRA in found:
        # `host:4` is of both.
        found.remove(HYDRA)
    if not found:
        return SLOT_LINES if counted else PLAIN
    return " and ".join(found)
