r"""The text of a batch script, and the command of a rank: every value is quoted here.

Two grammars meet in a script. Its commands are read by a shell, its directives by the scheduler,
whose rules for quotes are not the shell's: sbatch takes a backslash for an escape between single
quotes too. Between double quotes, with a backslash before `"` and `\`, both read the same.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

import msgspec

from bench.core.program import module_command
from bench.core.records import Job
from bench.launch.batch.queue import EXIT_MARKER
from bench.launch.binding import rank_options
from bench.launch.site import Site, check_line

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


def quote(word: str) -> str:
    """Return a word as a shell reads it back.

    Raises:
        RequestError: where it holds a line break or another control character.
    """
    return shlex.quote(word and check_line(word, "a value of the script"))


def directive(marker: str, words: Iterable[str]) -> str:
    """Return a line that the scheduler reads, each word as one.

    Raises:
        RequestError: where a word holds a line break or another control character.
    """
    return " ".join([marker, *(_directive_word(word) for word in words)])


def _directive_word(word: str) -> str:
    if _PLAIN.fullmatch(check_line(word, "a value of the script")):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def script_text(
    marker: str,
    directives: Sequence[Sequence[str]],
    site: Site,
    command: Sequence[str],
    before: Sequence[str] = (),
) -> str:
    """Return a script.

    Args:
        marker: what begins a directive, such as `#SBATCH`.
        directives: the words of each directive.
        site: its modules come first, then its environment.
        command: tokens of what starts the ranks.
        before: lines of shell that come before all others, fixed texts or quoted by the caller.

    Raises:
        RequestError: where a value holds a line break or another control character.
    """
    own = ["# Lines of the site file, as they stand there."] if site.modules else []
    lines = [
        "#!/bin/bash",
        *(directive(marker, words) for words in directives),
        *before,
        *own,
        *site.modules,
        *(f"export {name}={quote(value)}" for name, value in site.environment.items()),
        " ".join(quote(token) for token in command),
        "status=$?",
        "echo",
        f'echo "{EXIT_MARKER}$status"',
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def with_environment(site: Site, job: Job) -> Site:
    """Return the site with a job's own variables in its environment; they beat the site's."""
    return msgspec.structs.replace(site, environment=site.environment | job.env)


def worker_tokens(site: Site, asked: Job, job_file: str | None = None) -> tuple[str, ...]:
    """Return the command of a rank, in its container where there is one.

    Args:
        site: names the container.
        asked: the job.
        job_file: absolute path of the job; on standard input if not given.
    """
    file = () if job_file is None else ("--job", job_file)
    job = (*rank_options(asked), *file)
    container = site.container
    if container is None:
        return (*module_command("bench.rank"), *job)
    worker = (*module_command("bench.rank", container.python), *job)
    if container.runtime == "pyxis":  # which is options of srun
        return worker
    nv = ("--nv",) if container.gpu else ()
    mounts = container_mounts(site, job_file)
    binds = tuple(token for mount in mounts for token in ("--bind", mount))
    return ("apptainer", "exec", *nv, *binds, container.image, *worker)


def container_mounts(site: Site, job_file: str | None) -> tuple[str, ...]:
    """Return what is mounted in the container: the site's folders, and the one of the job."""
    if site.container is None:
        return ()
    folder = () if job_file is None else (job_file.rpartition("/")[0],)
    return (*site.container.mounts, *folder)
