"""Checks of settings of MPI, in variables and files, that make it measure something else."""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from bench.core.errors import printable
from bench.core.records import Finding
from bench.machine.facts import NodeFacts
from bench.machine.settings import split_key

_SHARED = frozenset({"sm", "vader", "shm", "mm", "posix", "sysv", "xpmem", "cma", "knem", "all"})
"""Names by which transports between ranks of one node are called."""
_NO_SHARING = "messages between ranks of one node do not go through shared memory"
_TWO_COPIES = "large messages between ranks of one node are copied twice"
_YIELDS = "a rank that waits gives its core away, and small messages take longer"
_TALKS = "it prints while others are measured"
_CHOSEN = "MPI does not choose the algorithm of a collective by itself"


class Setting(NamedTuple):
    """A setting that somebody made."""

    variable: str
    value: str
    file: str
    """Empty for a variable of the environment."""

    @property
    def shown(self) -> str:
        """As a person would find it."""
        where = f" in {printable(self.file)}" if self.file else ""
        return f"{printable(self.variable)}={printable(self.value)}{where}"


class _Rule(NamedTuple):
    names: str
    spoils: Callable[[str], bool]
    harm: str
    level: Literal["note", "warning", "stop"] = "warning"


def _names(value: str) -> set[str]:
    return {name.split(":")[0].strip().lower() for name in value.lstrip("^").split(",")}


def _shares_nothing(value: str) -> bool:
    """Return whether a list of transports leaves out all within a node."""
    excluded = value.startswith("^")
    found = _names(value) & _SHARED
    return bool(found - {"cma", "knem", "xpmem"}) if excluded else not found


def _on(value: str) -> bool:
    return value.strip().lower() in ("1", "y", "yes", "on", "true", "enable", "enabled")


def _off(value: str) -> bool:
    return value.strip().lower() in ("0", "n", "no", "off", "false", "disable", "disabled")


def _talks(value: str) -> bool:
    return value.strip().lower() not in ("0", "", "none", "no", "off", "warn", "error", "fatal")


_RULES = (
    _Rule(
        "OMPI_MCA_btl",
        lambda value: _names(value) == {"self"} and not value.startswith("^"),
        "no rank reaches another one",
        "stop",
    ),
    _Rule("OMPI_MCA_btl|UCX_TLS", _shares_nothing, _NO_SHARING),
    _Rule(
        r"MPIR_CVAR_(CH3_|CH4_)?NO_?LOCAL|MPICH_NO_LOCAL|MPIR_CVAR_(CH3_)?ODD_EVEN_CLIQUES",
        _on,
        _NO_SHARING,
    ),
    _Rule("MV2_USE_SHARED_MEM|MVP_USE_SHARED_MEM|I_MPI_SHM", _off, _NO_SHARING),
    _Rule("I_MPI_FABRICS", lambda value: "shm" not in value.lower(), _NO_SHARING),
    _Rule(
        "OMPI_MCA_btl_(sm|vader)_single_copy_mechanism|OMPI_MCA_smsc",
        lambda value: (
            value.strip().lower() == "none" or (value.startswith("^") and "cma" in _names(value))
        ),
        _TWO_COPIES,
    ),
    _Rule("OMPI_MCA_mpi_yield_when_idle|MV2_USE_BLOCKING|I_MPI_WAIT_MODE", _on, _YIELDS),
    _Rule(
        r"(OMPI|PRTE|PMIX)_MCA_\w+_verbose|(UCX|FI|UCC)_LOG_LEVEL|MPICH_DBG(_\w+)?|NCCL_DEBUG",
        _talks,
        _TALKS,
        "note",
    ),
    _Rule(
        r"MPIR_CVAR_\w+_ALGORITHM|I_MPI_ADJUST_\w+|OMPI_MCA_coll_tuned_\w+_algorithm",
        lambda value: value.strip().lower() not in ("auto", "0", ""),
        _CHOSEN,
        "note",
    ),
    _Rule(
        "FI_PROVIDER",
        lambda value: _names(value) <= {"tcp", "sockets", "udp"},
        "libfabric takes no faster path than the kernel's network",
        "note",
    ),
    _Rule("LD_PRELOAD", lambda value: bool(value.strip()), "it is loaded into every rank", "note"),
)
"""The first one that holds for a setting counts."""


_READ_BY = {
    "openmpi": ("OMPI_", "PRTE_", "PMIX_"),
    "mpich": ("MPIR_", "MPICH_", "I_MPI_", "MV2_", "MVP_"),
}


def read_all(facts: NodeFacts) -> list[Setting]:
    """Return the settings that hold: a variable beats a file, and a file those before it."""
    found = {}
    for key, value in facts.settings.items():
        variable, file = split_key(key)
        found[variable] = Setting(variable, value, file)
    for variable, value in facts.environment.items():
        found[variable] = Setting(variable, value, "")
    return list(found.values())


def check_settings(facts: NodeFacts, family: str | None) -> list[Finding]:
    """Check that no setting takes MPI off the path, or the pace, that is to be measured.

    Args:
        facts: of this node and this process.
        family: of the MPI, where it is known: nobody reads what is set for another one.
    """
    settings = [s for s in read_all(facts) if not _is_of_another(s.variable, family)]
    if any(s.variable == "OMPI_MCA_pml" and _names(s.value) & {"ucx", "cm"} for s in settings):
        # Those bring transports of their own.
        settings = [s for s in settings if s.variable != "OMPI_MCA_btl"]
    return [_find(*found) for found in _spoiling(settings)]


def _is_of_another(variable: str, family: str | None) -> bool:
    return (
        any(variable.startswith(prefixes) for name, prefixes in _READ_BY.items() if name != family)
        and family in _READ_BY
    )


def _spoiling(settings: list[Setting]) -> Iterator[tuple[Setting, _Rule]]:
    for setting in settings:
        for rule in _RULES:
            if re.fullmatch(rule.names, setting.variable) and rule.spoils(setting.value):
                yield setting, rule
                break


def _find(setting: Setting, rule: _Rule) -> Finding:
    undo = f"take it out of {printable(setting.file)}" if setting.file else None
    return Finding(
        name="mpi-setting",
        level=rule.level,
        text=f"{setting.shown}: {rule.harm}",
        advice=f"{undo or f'`unset {printable(setting.variable)}`'}, unless that is what you want "
        "to measure",
        value=printable(setting.value),
    )
