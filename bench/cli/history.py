"""`clusterbench compare --history`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.ending import Ending, complain, describe, print_judged, verdict_code

if TYPE_CHECKING:
    from bench.core.verdict import Verdict
    from bench.judge.history.records import History
    from bench.judge.history.text import Differences


def show_history(
    runs: Path, margin: float | None, folder: Path | None, no_report: bool, as_json: bool
) -> Ending:
    """Say when cases changed over all runs in a folder, and write a page.

    Args:
        runs: the folder that holds run folders.
        margin: the share up to which a change is none that matters; the usual one where None.
        folder: of the page; that of the runs where None.
        no_report: write no page.
        as_json: print JSON.
    """
    from bench.judge.compare.records import MARGIN
    from bench.judge.history.judge import (
        find_differences,
        find_history,
        judge_history,
    )
    from bench.judge.history.text import history_text

    history, opened = find_history(runs, MARGIN if margin is None else margin)
    differences = find_differences(history, opened)
    verdict = judge_history(history)
    code = verdict_code(verdict)
    page = None
    if not no_report:
        from bench.report.history import build_history

        try:
            page = build_history(history, verdict, differences, folder or runs)
        except OSError as error:
            complain(f"no page was written: {describe(error)}; name a folder with -o DIR", code)
    if as_json:
        return Ending(partial(_print_as_json, history, differences, page, verdict), code)
    lines = history_text(history, verdict, differences)
    lines += [] if page is None else ["", f"page: {page}"]
    return Ending(partial(print, "\n".join(lines)), code)


def _print_as_json(
    history: "History", differences: "Differences", page: Path | None, verdict: "Verdict"
) -> None:
    import msgspec

    moments = [
        {"before": before, "after": after, "differences": found}
        for (before, after), found in differences.items()
    ]
    shown = {"moments": moments, "report": None if page is None else str(page)}
    print_judged(msgspec.to_builtins(history) | shown, verdict)
