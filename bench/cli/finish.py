"""What follows a run: its page, its headline, and its folder as the last line.

By then the run is whole. Whatever fails here becomes one line, and the exit code stays the run's.
"""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.ending import (
    EXIT_INTERRUPTED,
    Ending,
    complain,
    describe,
    print_judged,
    verdict_code,
)
from bench.core.errors import printable

MOST_TOLD = 5
"""Warnings after a run; its page has all."""

if TYPE_CHECKING:
    from bench.run.end import Ended


def finish(ended: "Ended", no_report: bool, as_json: bool) -> Ending:
    """Write the page of a run and return what is to be printed of it."""
    code = EXIT_INTERRUPTED if ended.interrupted else verdict_code(ended.verdict)
    # Who ends a run by a signal may kill it half a minute later; its page can be made at any time.
    if not no_report and not ended.interrupted:
        try:
            _report_failure("the report", partial(_write_report, ended.folder))
        except KeyboardInterrupt:
            code = complain("the report was interrupted", EXIT_INTERRUPTED)
    return Ending(partial(_print_as_json if as_json else _print, ended), code)


def _report_failure(what: str, act: Callable[[], None]) -> None:
    try:
        act()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the run is there
        complain(f"{what} of the run failed: {describe(error)}", 0)


def _write_report(folder: Path) -> None:
    from bench.report import build
    from bench.store.folder import open_run

    build([open_run(folder)], folder)


def _print_as_json(ended: "Ended") -> None:
    shown = {"run": str(ended.folder), "outcome": ended.outcome, "rows": ended.counts}
    print_judged(shown | {"findings": ended.findings}, ended.verdict)


def _print(ended: "Ended") -> None:
    try:
        _report_failure("the headline", partial(_print_headline, ended))
        print(printable(ended.verdict.text, 600))
    finally:
        print(ended.folder)


def _print_headline(ended: "Ended") -> None:
    """Print the figures that a run is first asked for, and how its rows ended."""
    from rich.markup import escape
    from rich.table import Table

    from bench.cli.console import Output
    from bench.judge.findings import select_told
    from bench.judge.headline import headlines
    from bench.judge.table import load
    from bench.store.folder import open_run

    console = Output()
    run = open_run(ended.folder)
    table = Table(title=f"{run.meta.suite_name} ({run.meta.origin})", title_justify="left")
    for title in ("", "measured", "reached in"):
        table.add_column(title)
    for headline in headlines(load(run)):
        table.add_row(escape(headline.what), headline.text, escape(headline.name))
    if table.row_count:
        console.print(table)
    told = select_told(run.findings)
    for finding in told[:MOST_TOLD]:
        console.print(f"[yellow]{escape(printable(finding.text, 600))}[/]", highlight=False)
    if len(told) > MOST_TOLD:
        console.print(f"and {len(told) - MOST_TOLD} more warnings, on the page", highlight=False)
    counts = ", ".join(f"{count} {status}" for status, count in ended.counts.items() if count)
    console.print(f"rows: {counts or 'none'}; {ended.outcome}", highlight=False)
    page = ended.folder / "report.html"
    if page.is_file():
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if ended.interrupted:
        shown = shlex.quote(str(ended.folder))
        console.print(
            f"go on with `clusterbench resume {shown}`; `clusterbench report {shown}` writes the "
            "page of what there is",
            soft_wrap=True,
            highlight=False,
        )
