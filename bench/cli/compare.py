"""`clusterbench compare`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bench.cli.ending import Ending, complain, describe, print_judged, verdict_code
from bench.cli.kept import keep, tell_changed_files
from bench.cli.share import read_share
from bench.cli.verb import Verb, json_option
from bench.core.errors import RequestError, printable

if TYPE_CHECKING:
    from bench.core.verdict import Verdict
    from bench.judge.compare.comparison import Comparison

_MOST_MARGIN = 0.5


@click.command(cls=Verb)
@click.argument("paths", nargs=-1, metavar="A B...", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    metavar="SHARE",
    help="Changes up to this one do not matter, such as 2%; 1% if not given, or what `ab` had.",
)
@click.option("--by-label", is_flag=True, help="Runs of one --label are launches of one side.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="In place of A and B: when a case changed over all runs in this folder.",
)
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the page; that of the last run, or of the history, if not given.",
)
@click.option("--no-report", is_flag=True, help="Write no page and no figure.")
@json_option
def compare(
    paths: tuple[Path, ...],
    margin: str | None,
    by_label: bool,
    history: Path | None,
    folder: Path | None,
    no_report: bool,
    as_json: bool,
) -> Ending:
    """Did it help? Runs against the first of them: FASTER, SLOWER, SAME or CANNOT TELL.

    A and B are run folders, A the baseline; or the one folder that `clusterbench ab` made.
    """
    if history is not None:
        from bench.cli.history import show_history

        if paths or by_label:
            raise RequestError(
                "--history takes all runs of one folder: leave out A, B and --by-label"
            )
        share = None if margin is None else read_margin(margin)
        return show_history(history, share, folder, no_report, as_json)
    if not paths:
        raise RequestError(
            "nothing to compare: name two runs, the baseline first, such as "
            "`clusterbench compare results/OLD results/NEW`, or a folder of many with --history"
        )
    return hold_sides(paths, margin, by_label, folder, no_report, as_json)


def hold_sides(
    paths: Sequence[Path],
    margin: str | None = None,
    by_label: bool = False,
    folder: Path | None = None,
    no_report: bool = False,
    as_json: bool = False,
) -> Ending:
    """Hold sides against the first of them; write the page, and return what is to be printed."""
    from bench.judge.compare.compare import compare_runs, judge_comparison
    from bench.judge.compare.records import MARGIN
    from bench.judge.compare.sides import open_sides
    from bench.judge.compare.text import comparison_text
    from bench.store.ab import is_ab, read_ab

    ab = paths[0] if len(paths) == 1 and is_ab(paths[0]) else None
    usual = read_ab(ab).margin if ab else MARGIN
    share = usual if margin is None else read_margin(margin)
    sides = open_sides(paths, by_label)
    for run in (run for side in sides for run in side.runs):
        tell_changed_files(run, printable(run.path, 300))
    comparison = compare_runs(sides, share)
    verdict = judge_comparison(comparison)
    code = verdict_code(verdict)
    if ab is not None:
        keep(ab, "compare", verdict, "verdict", code)
    else:
        for side, one in zip(sides[1:], verdict.parts or (verdict,), strict=True):
            keep(side.runs[-1].path, "compare", one, "verdict", code)
    page = None
    if not no_report:
        page = _write_page(comparison, folder, ab, sides[-1].runs[-1].path, code)
    if as_json:
        return Ending(partial(_print_as_json, comparison, page, verdict), code)
    lines = comparison_text(comparison) + ([] if page is None else [f"page: {page}"])
    return Ending(partial(print, "\n".join(lines)), code)


def read_margin(text: str) -> float:
    """Return the margin that was typed.

    Raises:
        RequestError: where it is none.
    """
    return read_share("--margin", text, _MOST_MARGIN)


def _write_page(
    comparison: "Comparison", folder: Path | None, ab: Path | None, home: Path, code: int
) -> Path | None:
    """Write the page and return its path; None where nobody asked for it and it cannot be."""
    from bench.report import compare as page

    if folder is not None:
        return page.build_comparison(comparison, folder)
    try:
        if ab is not None:
            return page.build_comparison(comparison, ab, page.AB_STEM)
        return page.build_comparison(comparison, home)
    except OSError as error:
        complain(f"no page was written: {describe(error)}; name a folder for it with -o DIR", code)
        return None


def _print_as_json(comparison: "Comparison", page: Path | None, verdict: "Verdict") -> None:
    import msgspec

    shown = msgspec.to_builtins(comparison) | {"report": None if page is None else str(page)}
    print_judged(shown, verdict)
