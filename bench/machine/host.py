"""Facts of the host itself: its name, its operating system, and what it runs inside."""

from pathlib import Path
from typing import Annotated

import msgspec

from bench.machine.compared import COMPARED, Compared
from bench.machine.describe import Rows, show
from bench.machine.sysfs import read_text, read_word

_CONTAINER_FILES = {
    ".dockerenv": "docker",
    "run/.containerenv": "podman",
    ".singularity.d": "apptainer",
}
_CONTAINER_GROUPS = {"docker": "docker", "kubepods": "kubernetes", "lxc": "lxc", "libpod": "podman"}
_CPUINFO_LIMIT = 1 << 14
_DMI = "sys/class/dmi/id"
_BIOS_FILES = ("vendor", "version", "date")


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Operating system of a node, and hints of what it runs inside."""

    os: Annotated[str | None, COMPARED] = None
    kernel: Annotated[str | None, COMPARED] = None
    bios: Annotated[str | None, COMPARED] = None
    """Maker, version and date of the firmware, such as `Dell Inc. 2.3.5 (09/10/2024)`."""
    container: Annotated[str | None, Compared(none="none")] = None
    """Kind of container; None where there is no sign of one."""
    hypervisor: Annotated[str | None, Compared(none="none")] = None
    """Kind of virtual machine, or `unnamed`; None where there is no sign of one."""


def read_hostname(root: Path) -> str | None:
    """Return the name that the kernel knows the host by."""
    return read_word(root / "proc/sys/kernel/hostname")


def read_host(root: Path) -> HostFacts:
    """Read the facts of the host below `root`."""
    return HostFacts(
        os=_read_os(root),
        kernel=read_word(root / "proc/sys/kernel/osrelease"),
        bios=_read_bios(root),
        container=_find_container(root),
        hypervisor=_find_hypervisor(root),
    )


def host_rows(host: HostFacts) -> Rows:
    """Return the facts of the host for a person."""
    inside = [f"container ({show(host.container)})"] if host.container else []
    inside += [f"virtual machine ({show(host.hypervisor)})"] if host.hypervisor else []
    return [
        ("System", f"{show(host.os)}, kernel {show(host.kernel)}, BIOS {show(host.bios)}"),
        ("Runs in", ", ".join(inside) or "no sign of a container or a virtual machine"),
    ]


def _read_os(root: Path) -> str | None:
    for line in (read_text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip("\"'") or None
    return None


def _read_bios(root: Path) -> str | None:
    maker, version, date = (read_word(root / _DMI / f"bios_{name}") for name in _BIOS_FILES)
    words = [maker, version, f"({date})" if date else None]
    return " ".join(word for word in words if word) or None


def _find_container(root: Path) -> str | None:
    for file, kind in _CONTAINER_FILES.items():
        if (root / file).exists():
            return kind
    groups = read_text(root / "proc/self/cgroup") or ""
    return next((kind for word, kind in _CONTAINER_GROUPS.items() if word in groups), None)


def _find_hypervisor(root: Path) -> str | None:
    # On x86 a hypervisor sets a CPU flag; elsewhere only its name gives it away.
    named = read_word(root / "sys/hypervisor/type") or _read_product(root)
    cpuinfo = read_text(root / "proc/cpuinfo", _CPUINFO_LIMIT) or ""
    flagged = any(
        line.startswith("flags") and "hypervisor" in line.split() for line in cpuinfo.splitlines()
    )
    return named or ("unnamed" if flagged else None)


def _read_product(root: Path) -> str | None:
    words = [read_word(root / _DMI / name) for name in ("sys_vendor", "product_name")]
    product = " ".join(word for word in words if word)
    virtual = ("QEMU", "KVM", "VMware", "VirtualBox", "Virtual Machine", "Google Compute", "Xen")
    return product if any(word in product for word in virtual) else None
