"""`clusterbench ab`."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bench.cli.ending import EXIT_INTERRUPTED, EXIT_UNDECIDED, Ending
from bench.cli.verb import Verb, json_option, parent_option, report_option, request_options
from bench.core.errors import RequestError, printable

if TYPE_CHECKING:
    from bench.core.verdict import Verdict
    from bench.run.ab.asked import Asked, More
    from bench.run.ab.sitting import Conducted

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*=", re.ASCII)


class AbVerb(Verb):
    """Takes several values after one `--a` or `--b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the option before each further value: click takes one for each."""
        spread: list[str] = []
        option = None
        for word in args:
            if word in ("--a", "--b"):
                option = word
            elif option and spread[-1:] != [option] and not _KEY.match(word):
                option = None
            elif option and spread[-1:] != [option]:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=AbVerb)
@click.argument("suite", required=False)
@click.option(
    "--a",
    "a",
    multiple=True,
    metavar="KEY=VALUE...",
    help="What A sets: env.NAME, mca.NAME, launcher, hosts, hostfile, mpi (another Python "
    "environment), mpirun, bind, label.",
)
@click.option("--b", "b", multiple=True, metavar="KEY=VALUE...", help="The same of B.")
@click.option(
    "--manual",
    metavar="WHAT",
    help="What you change by hand, such as a driver: measures A, B, and A again.",
)
@click.option("--until-decided", is_flag=True, help="Add launches until there is an answer.")
@click.option(
    "--most",
    type=click.IntRange(2, 10_000),
    metavar="N",
    help="Launches of each side at most, with --until-decided; 40 if not given.",
)
@click.option(
    "--margin", metavar="SHARE", help="Changes up to this one do not matter; 1% if not given."
)
@click.option(
    "--continue",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with a comparison, or measure more --launches of one.",
)
@click.option("--force", is_flag=True, help="Go on although MPI, program or hosts have changed.")
@request_options
@json_option
@parent_option("comparison's")
@report_option
def ab(
    suite: str | None,
    a: tuple[str, ...],
    b: tuple[str, ...],
    folder: Path | None,
    force: bool,
    as_json: bool,
    parent: Path,
    no_report: bool,
    **asked: Any,
) -> Ending:
    """Did it help? Launches of A and B in turn, in random order, then `compare`.

    SUITE is that of `run`, and so are the other options; 10 launches of each side if not told.
    The last line printed is the folder of the comparison.
    """
    from bench.run.ab.sitting import begin_ab, go_on_ab

    more = {key: asked.pop(key) for key in ("manual", "until_decided", "most", "margin")}
    if folder is not None:
        changed = _given(suite, a, b, more["manual"], more["margin"], asked)
        if changed:
            raise RequestError(
                f"--continue goes on with what the comparison was begun with: leave out {changed}"
            )
        launches = more["most"] or asked["launches"]
        conducted = go_on_ab(
            folder, _more(launches, more["until_decided"]), _say, _look, _ask, force
        )
    else:
        if suite is None:
            raise RequestError("name a suite, such as quick, or a comparison with --continue DIR")
        conducted = begin_ab(_asked(suite, a, b, more, asked), parent, _say, _look, _ask)
    return _end(conducted, no_report, as_json)


def _given(
    suite: str | None,
    a: tuple[str, ...],
    b: tuple[str, ...],
    manual: str | None,
    margin: str | None,
    asked: dict[str, Any],
) -> str:
    """Return what was given beside `--continue` that it does not take, in words."""
    from bench.run.request import Request

    plain = Request(suite="")
    names = [
        name
        for name, value in asked.items()
        if name != "launches" and value != getattr(plain, name)
    ]
    given = {"SUITE": suite, "--a": a, "--b": b, "--manual": manual, "--margin": margin}
    words = [word for word, value in given.items() if value]
    return ", ".join(words + ["-n" if name == "ranks" else f"--{name}" for name in names])


def _more(launches: int | None, until_decided: bool) -> "More":
    from bench.run.ab.asked import More

    return More(launches=launches, until_decided=until_decided)


def _asked(
    suite: str,
    a: tuple[str, ...],
    b: tuple[str, ...],
    more: dict[str, Any],
    asked: dict[str, Any],
) -> "Asked":
    """Return what a new comparison is asked for.

    Raises:
        RequestError: where a key, a flag or the margin is wrong.
    """
    from bench.cli.compare import read_margin
    from bench.judge.compare.records import MARGIN
    from bench.run.ab.asked import LAUNCHES, MOST_UNTIL_DECIDED, Asked
    from bench.run.ab.keys import parse_keys
    from bench.run.request import make_request

    sets = {"a": parse_keys("--a", a), "b": parse_keys("--b", b)}
    until_decided, manual, most = more["until_decided"], more["manual"], more["most"]
    if manual is None and not a and not b:
        raise RequestError(
            "say what differs, as --a env.UCX_TLS=rc --b env.UCX_TLS=tcp, or --manual 'new driver' "
            "where you change it by hand"
        )
    if manual is not None and (until_decided or any(s.keys() - {"label"} for s in sets.values())):
        raise RequestError(
            "--manual is the one change: with it --a and --b set no more than a label, and "
            "--until-decided cannot go back and forth"
        )
    if manual is not None and asked["launches"] == 1:
        raise RequestError(
            "--manual measures half of A before the change and half after it is taken back: ask "
            "for --launches 2 or more"
        )
    if most is not None and not until_decided:
        raise RequestError("--most ends --until-decided; without that, write --launches")
    launches = asked.pop("launches")
    if until_decided and launches is not None:
        raise RequestError("--until-decided ends by itself; write --most in place of --launches")
    default = MOST_UNTIL_DECIDED if until_decided else LAUNCHES
    return Asked(
        request=make_request({**asked, "suite": suite}),
        sets=sets,
        launches=most or launches or default,
        until_decided=until_decided,
        margin=MARGIN if more["margin"] is None else read_margin(more["margin"]),
        manual=manual,
    )


def _say(line: str) -> None:
    print(printable(line, 600), file=sys.stderr, flush=True)


def _ask(command: str) -> bool:
    """Return whether a change is made; where nobody is there, how to go on is said."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        return False
    _say(f"press Enter when it is done; after a reboot, or later: {command}")
    return sys.stdin.readline() != ""


def _look(folder: Path, margin: float) -> "Verdict":
    """Return what the launches of a comparison say so far."""
    from bench.judge.compare.compare import compare_runs, judge_comparison
    from bench.judge.compare.sides import open_sides

    return judge_comparison(compare_runs(open_sides([folder]), margin))


def _end(conducted: "Conducted", no_report: bool, as_json: bool) -> Ending:
    """Return what is printed of a comparison: what `compare` says, and its folder at the end."""
    folder = conducted.folder
    if conducted.interrupted or conducted.waiting:
        code = EXIT_INTERRUPTED if conducted.interrupted else EXIT_UNDECIDED
        return Ending(partial(_print_how_to_go_on, folder), code)
    from bench.cli.compare import hold_sides

    ending = hold_sides((folder,), no_report=no_report, as_json=as_json)
    return Ending(partial(_print_with_folder, ending, folder, as_json), ending.exit_code)


def _print_how_to_go_on(folder: Path) -> None:
    from bench.run.ab.manual import tell_continue

    print(f"go on with `{tell_continue(folder)}`")
    print(folder)


def _print_with_folder(ending: Ending, folder: Path, as_json: bool) -> None:
    try:
        ending.show()
    finally:
        if as_json:
            _say(str(folder))
        else:
            print(folder)
