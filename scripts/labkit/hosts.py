"""The hosts: what each has instead of the machine's own, and the sshd that makes them a cluster."""

import re
import shutil
import time
from pathlib import Path

from labkit.cluster import STATE, Cluster
from labkit.errors import LabError
from labkit.namespaces import FOLDER, OPTIONS, inside, make_namespaces, mount_sysfs, run
from labkit.quota import enter_group, leave_group

HOME = STATE / "home"
"""The home of root on every host."""
ETC = STATE / "etc"
START_TIMEOUT_S = 60

SERVER = f"""\
HostKey {STATE}/host_key
AuthorizedKeysFile {HOME}/.ssh/id_ed25519.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
AllowUsers root
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100
LogLevel ERROR
"""
CLIENT = f"""\
IdentityFile {HOME}/.ssh/id_ed25519
IdentitiesOnly yes
UserKnownHostsFile {HOME}/.ssh/known_hosts
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 10
LogLevel ERROR
"""


def is_host() -> bool:
    """Return whether this is a host of the lab: its accounts are in the lab's file system."""
    return STATE.is_mount() and STATE.stat().st_dev == Path("/etc/passwd").stat().st_dev


def write_files(cluster: Cluster, hostname: str | None) -> None:
    """Write keys, and what all hosts have in /etc; `hostname` is what all call themselves."""
    folder = HOME / ".ssh"
    folder.mkdir(mode=0o700, parents=True)
    for key in (STATE / "host_key", folder / "id_ed25519"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key)
    host_key = (STATE / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"h*,10.78.* {host_key}")
    (folder / "config").write_text(CLIENT)

    ETC.mkdir()
    lines = ["127.0.0.1 localhost"]
    for host in cluster.hosts:
        links = cluster.links_of(host)
        lines.append(f"{links[0].address} {host}")
        lines += [f"{link.address} {host}-{link.number}" for link in links]
    if hostname is not None and hostname not in cluster.hosts:
        lines.append(f"127.0.1.1 {hostname}")  # as Debian does for a host that nobody else names
    (ETC / "hosts").write_text("\n".join(lines) + "\n")
    # ssh and sshd ask the account for the home, and not the environment.
    accounts = Path("/etc/passwd").read_text()
    (ETC / "passwd").write_text(re.sub(r"(?m)^(root:(.*?:){4})[^:]*", rf"\g<1>{HOME}", accounts))
    # sshd refuses an account that is locked, as root's often is. `*` fits no password either.
    (ETC / "shadow").touch(mode=0o600)
    (ETC / "shadow").write_text("root:*:20000::::::\n")


def make_host(host: str, hostname: str | None) -> None:
    """Give a host its name, loopback, shared memory, view of its network, and files in /etc."""
    make_namespaces(host, tuple(OPTIONS))
    inside(host, "tee", "/proc/sys/kernel/hostname", stdin=hostname or host)
    inside(host, "ip", "link", "set", "lo", "up")
    mount_sysfs(host)
    # Ranks of two hosts that shared it could pass messages through it.
    inside(host, "mount", "-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm")  # noqa: S108
    for file in ETC.iterdir():
        inside(host, "mount", "--bind", file, f"/etc/{file.name}")


def start_sshds(cluster: Cluster) -> None:
    """Start an sshd on every host and wait until all listen."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on this empty folder
    sshd = shutil.which("sshd")  # by its path, since it starts itself again for every connection
    for host in cluster.hosts:
        folder = FOLDER / host
        address = cluster.links_of(host)[0].address
        own = f"ListenAddress {address}\nPidFile {folder}/sshd.pid\n"
        (folder / "sshd_config").write_text(own + SERVER)
        # What ssh starts there has the host's share of the CPUs.
        enter_group(host)
        try:
            inside(host, sshd, "-f", folder / "sshd_config", "-E", folder / "sshd.log")
        finally:
            leave_group()
    deadline = time.monotonic() + START_TIMEOUT_S
    for folder in (FOLDER / host for host in cluster.hosts):
        while not (folder / "sshd.pid").exists():  # which it writes once it listens
            if time.monotonic() > deadline:
                lines = (folder / "sshd.log").read_text().strip().splitlines() or [
                    "its log is empty"
                ]
                raise LabError(f"the sshd of {folder.name} does not start: {lines[-1]}", 4)
            time.sleep(0.01)
