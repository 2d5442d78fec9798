"""Names of hosts from people and files: checked before they reach any command.

A name that began with a dash would be an option to ssh (`-oProxyCommand=...` runs a program), so
names follow a strict grammar or are refused.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from bench.core.errors import RequestError, printable

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_SLOTS = re.compile(r"(?::\d{1,6}|\s+(?:max_)?slots\s*=\s*\d{1,6})*\s*", re.ASCII)
_MOST_HOSTS = 100_000


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a comma-separated list, in order.

    Raises:
        RequestError: where a name is no host name, or stands there twice.
    """
    return _checked([name.strip() for name in text.split(",")], "--hosts")


def read_hostfile(path: Path) -> tuple[str, ...]:
    """Return the hosts of a file with one on each line; slots and comments are passed over.

    Ranks are spread evenly over the hosts, so slots, which MPI's own files have, are not needed.

    Raises:
        RequestError: where the file cannot be read or holds what is no host name.
    """
    shown = printable(path, 200)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RequestError(f"--hostfile {shown}: cannot be read: {why}") from error
    names = []
    for line in lines:
        entry = line.partition("#")[0].strip()
        match = _HOST.match(entry)
        if entry and match and _SLOTS.fullmatch(entry, match.end()):
            names.append(match[0])
        elif entry:
            names.append(entry)
    return _checked(names, f"--hostfile {shown}")


def fold_hosts(names: Iterable[str]) -> str:
    """Return hosts as one text for people, such as `node[1-3,7],vm`; each once.

    A name that is no host's comes last and as it is, escaped: brackets or commas in it would mean
    other hosts.
    """
    # Only where findings are made: commands that print a plan have no use for it.
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    every = sorted(set(names))
    known = [name for name in every if _HOST.fullmatch(name)]
    odd = [printable(name) for name in every if not _HOST.fullmatch(name)]
    folded = str(NodeSet.fromlist(known, resolver=RESOLVER_NOGROUP))
    return ",".join([folded, *odd] if folded else odd)


def _checked(names: list[str], source: str) -> tuple[str, ...]:
    if not names or names == [""]:
        raise RequestError(f"{source}: no host in it; name at least one, such as node1,node2")
    if len(names) > _MOST_HOSTS:
        raise RequestError(f"{source}: over {_MOST_HOSTS} hosts")
    for name in names:
        if not _HOST.fullmatch(name):
            raise RequestError(
                f"{source}: {printable(name)!r} is no host name; use letters, digits, '.', '_' and "
                "'-', beginning and ending with a letter or digit"
            )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RequestError(f"{source}: {name} stands there twice; name each host once")
        seen.add(name)
    return tuple(names)
