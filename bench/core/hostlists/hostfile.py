"""Host files of Open MPI, Hydra (MPICH, Intel MPI), MVAPICH, PBS, LSF and Grid Engine.

What a file is taken for follows from the words in it, since nobody says which one it is. Their
grammars do not contradict each other, but for a host without a count: Hydra starts one rank on it,
Open MPI as many as it has cores.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import RequestError, printable
from bench.core.hostlists.forms import (
    ADAPTERS,
    COUNTS,
    GRID_ENGINE,
    HYDRA,
    KEYS,
    MOST,
    MVAPICH,
    OPEN_MPI,
    PAIRS,
    SLURM,
    USER_NAMES,
    advise_key,
    name_form,
)
from bench.core.hostlists.hosts import Entry, HostList, add_up, leave_out_empty
from bench.core.hostlists.sets import MOST_HOSTS, expand_term, refuse_no_nodes, split_terms
from bench.core.hostlists.typed import read_count, split_fields
from bench.core.toml import read_text

_COMMENT = re.compile(r"#.*|//.*")
_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_USER = re.compile(r"(\^?)(?:([A-Za-z0-9._-]{1,64})@)?(\^?)(.*)", re.ASCII)
_HCA = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"\d{1,7}", re.ASCII)


class _Line(NamedTuple):
    """What a line says."""

    names: list[str]
    ranks: int | None = None
    excluded: bool = False
    forms: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


class _Known(NamedTuple):
    """Names, to be found with their domain or without it."""

    whole: frozenset[str]
    short: frozenset[str]
    """Of those with a domain, what they are called without it."""

    @classmethod
    def of(cls, names: Iterable[str]) -> "_Known":
        whole = frozenset(name.lower() for name in names)
        return cls(whole, frozenset(n.partition(".")[0] for n in whole if "." in n))

    def has(self, name: str) -> bool:
        whole = name.lower()
        short, dot, _ = whole.partition(".")
        return whole in self.whole or (short in self.whole if dot else whole in self.short)


def read_hostfile(path: Path, source: str | None = None) -> HostList:
    """Return the hosts of a file.

    Raises:
        RequestError: where the file cannot be read or a line is none of a host file.
    """
    source = source or f"--hostfile {printable(path, 200)}"
    try:
        text = read_text(path, "host")
    except RequestError as error:
        raise RequestError(f"{source}: {error}") from error
    return parse_hostfile(text, source)


def parse_hostfile(text: str, source: str) -> HostList:
    """Return the hosts of the text of a host file.

    Raises:
        RequestError: where a line is none of a host file.
    """
    lines: list[_Line] = []
    # A line for each rank repeats itself some hundred times.
    known: dict[str, list[_Line]] = {}
    hosts = 0
    for number, line in _lines_of(text, source):
        if line not in known:
            known[line] = _read_line(line, f"{source}, line {number}")
        lines += known[line]
        hosts += sum(len(read.names) for read in known[line])
        if hosts > MOST_HOSTS * 10:
            raise RequestError(f"{source}: over {MOST_HOSTS * 10} entries")
    forms = [form for line in lines for form in line.forms]
    entries = [Entry(n, line.ranks) for line in lines if not line.excluded for n in line.names]
    lone = None if OPEN_MPI in forms else 1
    names, counts = add_up(entries, source, lone)
    excluded = [name for line in lines if line.excluded for name in line.names]
    out = _Known.of(excluded)
    kept = [i for i, name in enumerate(names) if not out.has(name)]
    names, counts = tuple(names[i] for i in kept), tuple(counts[i] for i in kept if counts)
    names, counts, empty = leave_out_empty(names, counts, source)
    passed_over = [text for line in lines for text in line.passed_over]
    if empty:
        passed_over.append(f"hosts without slots: {', '.join(empty[:8])}")
    listed = _Known.of(entry.name for entry in entries)
    passed_over += [
        f"^{name}: no host of the list is called that" for name in excluded if not listed.has(name)
    ]
    return HostList(
        names=names,
        counts=counts,
        source=source,
        form=name_form(forms, bool(counts)),
        passed_over=tuple(dict.fromkeys(passed_over)),
    )


def _lines_of(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, without comments, with their numbers."""
    # The end of a line in a comment stays one, so that the numbers are right.
    text = _BLOCK_COMMENT.sub(
        lambda found: "\n" * found[0].count("\n"), text.removeprefix("\ufeff")
    )
    if "/*" in text:
        raise RequestError(f"{source}: a comment that /* begins is never closed; close it with */")
    refuse_no_nodes(text, source)
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        said = _COMMENT.sub("", line).strip()
        if said:
            yield number, said


def _read_line(line: str, source: str) -> list[_Line]:
    refuse_no_nodes(line, source)
    words = re.sub(r"\s*([=,])\s*", r"\1", line).split()
    if len(words) > 1 and not any("=" in word for word in words):
        return _read_columns(words, source)
    read = _read_target(words[0], source)
    return [_add_keys(one, words[1:], source) for one in read]


def _read_columns(words: Sequence[str], source: str) -> list[_Line]:
    """Return a line of hosts and counts in turn, or one of Grid Engine, which has a queue too."""
    numbers = [_NUMBER.fullmatch(word) is not None for word in words]
    if len(words) % 2 == 0 and all(numbers[1::2]) and not any(numbers[::2]):
        pairs = zip(words[::2], words[1::2], strict=True)
        return [
            _Line(expand_term(name, source), read_count(count, source), forms=(PAIRS,))
            for name, count in pairs
        ]
    if len(words) in (3, 4) and _NUMBER.fullmatch(words[1]) and "@" in words[2]:
        count = read_count(words[1], source)
        return [_Line(expand_term(words[0], source), count, forms=(GRID_ENGINE,))]
    raise RequestError(
        f"{source}: {printable(' '.join(words))!r} has more than one name; write one host on each "
        "line, such as node1 slots=4 or node1:4"
    )


def _read_target(word: str, source: str) -> list[_Line]:
    """Return what stands before the keys: hosts between commas, each with its own count."""
    lines = []
    for term in split_terms(word):
        match = _USER.fullmatch(term)
        before, user, after, rest = match.groups() if match else ("", None, "", term)
        rest, star, repeats = rest.partition("*")
        body, fields = split_fields(rest, source)
        if star and fields:
            raise RequestError(f"{source}: two counts of one host; leave one of them out")
        fields = fields or [repeats] * bool(star)
        count, hca = _read_fields(fields, term, source)
        is_open_mpi = bool(before or after or (user and not fields))
        colon = SLURM if star else HYDRA
        forms = (OPEN_MPI,) * is_open_mpi + (colon,) * bool(fields and not hca)
        passed_over = (USER_NAMES,) * bool(user) + (ADAPTERS,) * hca
        names = expand_term(body, source)
        excluded = bool(before or after)
        lines.append(_Line(names, count, excluded, forms + (MVAPICH,) * hca, passed_over))
    return lines


def _read_fields(fields: Sequence[str], term: str, source: str) -> tuple[int | None, bool]:
    """Return the count of `host:4:mlx5_0:1`, and whether an adapter is named."""
    rest = list(fields)
    count = read_count(rest.pop(0), source) if rest and not _HCA.fullmatch(rest[0]) else None
    hca = bool(rest)
    known = not rest or (
        len(rest) <= 2 and _HCA.fullmatch(rest[0]) and all(map(_NUMBER.fullmatch, rest[1:]))
    )
    if not known:
        raise RequestError(
            f"{source}: {printable(term)!r} is no host; write a count as node1:4, an adapter as "
            "node1:4:mlx5_0, an IPv6 address as [fd00::12]:4"
        )
    return count, hca


def _add_keys(line: _Line, words: Sequence[str], source: str) -> _Line:
    """Return a line with what its `key=value` words say."""
    count: int | None = None
    most: int | None = None
    forms, passed_over = list(line.forms), list(line.passed_over)
    for word in words:
        name, equals, value = word.partition("=")
        plain = name.replace("_", "-")
        key = KEYS.get(plain)
        if key is None or not equals or not value:
            raise RequestError(f"{source}: {printable(word)!r}: {advise_key(name, bool(value))}")
        forms.append(key.form)
        passed_over += [key.passed_over] * bool(key.passed_over)
        if plain in COUNTS:
            if count is not None or line.ranks is not None:
                raise RequestError(f"{source}: two counts of one host; leave one of them out")
            count = read_count(value, source)
        elif plain in MOST:
            most = read_count(value, source)
    if most is not None and count is not None and most < count:
        raise RequestError(f"{source}: the most slots, {most}, are below its slots, {count}")
    if count is None:
        # Open MPI takes the most for the count where that alone is given.
        count = line.ranks if most is None else most
    return line._replace(ranks=count, forms=tuple(forms), passed_over=tuple(passed_over))
