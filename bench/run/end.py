"""The end of a run: whatever brings it about, its outcome is on the disk first."""

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from bench.core.errors import StorageError, printable
from bench.core.records import Finding, Origin, Row, Status
from bench.core.verdict import RowKey, Verdict
from bench.judge.findings import row_findings
from bench.judge.path.collect import collect_evidence
from bench.judge.verdicts import judge_rows
from bench.machine.busy import check_busy, foreign_busy
from bench.plan.plan import Plan
from bench.run.runner import Runner
from bench.store.verdicts import write_verdicts


class Ended(msgspec.Struct, frozen=True):
    """How a run ended."""

    folder: Path
    outcome: str
    counts: dict[str, int]
    """Rows by status, and how many planned ones have no row."""
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it before its time."""
        return self.outcome == "interrupted"


def run_to_end(runner: Runner) -> Ended:
    """Run to the end, or to an interruption, and close the folder."""
    progress = runner.progress
    outcome = "interrupted"
    with interruptible():
        try:
            runner.run()
            outcome = "complete"
        except KeyboardInterrupt:
            progress.show("interrupted; what was measured is kept")
        finally:
            progress.close()
            _close(runner, outcome)
    return _judge(runner, outcome)


def close_run(runner: Runner, outcome: str) -> Ended:
    """Close the folder of a run whose jobs somebody else has had started."""
    _close(runner, outcome)
    return _judge(runner, outcome)


def _judge(runner: Runner, outcome: str) -> Ended:
    """Return how a run ended, with the verdict on its rows, which is kept with it."""
    recorder, progress = runner.recorder, runner.progress
    missing = find_missing(runner.plan, runner.rows)
    verdict = judge_rows(runner.rows, missing)
    try:
        write_verdicts(recorder.folder, {"run": verdict})
    except StorageError as error:
        progress.show(f"the verdict is not kept: {error}")
    counts = count_rows(runner.rows, missing)
    return Ended(recorder.folder, outcome, counts, verdict, tuple(recorder.findings))


def _close(runner: Runner, outcome: str) -> None:
    """Write how the run ended, then all that can be made again from its files.

    A batch system kills half a minute after it has asked, so what is needed to go on comes first;
    nothing after it, and no further Ctrl-C, can take it back.
    """
    recorder = runner.recorder
    recorder.end(outcome)
    try:
        for what, step in (("findings", _add_findings), ("evidence of paths", _add_evidence)):
            try:
                step(runner)
            except Exception as error:  # noqa: BLE001 - what is measured matters more
                why = printable(f"{type(error).__name__}: {error}", 300)
                runner.progress.show(f"the {what} could not be made ({why}); the rows are kept")
        recorder.finish()
    except KeyboardInterrupt:
        runner.progress.show("interrupted again: the run has no hashes of its files")


def _add_findings(runner: Runner) -> None:
    recorder = runner.recorder
    for finding in (*row_findings(runner.rows), *_busy_after(recorder.meta.origin)):
        recorder.finding(finding)


def _add_evidence(runner: Runner) -> None:
    recorder = runner.recorder
    paths = recorder.nodes.paths
    evidence = collect_evidence(recorder.folder, runner.plan.jobs, paths, runner.rows)
    recorder.evidence(evidence)


def find_missing(plan: Plan, rows: Sequence[Row]) -> list[RowKey]:
    """Return what is planned and has no row, in the plan's order."""
    done = {(row.case, row.arm, row.launch) for row in rows}
    planned = (
        RowKey(case=case.id, launch=job.launch, arm=job.arm)
        for job in plan.jobs
        for case in job.cases
    )
    return [key for key in planned if (key.case, key.arm, key.launch) not in done]


def count_rows(rows: Sequence[Row], missing: Sequence[RowKey]) -> dict[str, int]:
    """Return the rows of a run by status, and how many planned cases have none."""
    ended = Counter(str(row.status) for row in rows)
    counts = {str(status): ended[str(status)] for status in Status}
    return {**counts, "not measured": len(missing)}


def _busy_after(origin: Origin) -> list[Finding]:
    """Return what others ran when the run ended: what came in mid-run is still there, or not."""
    return check_busy(foreign_busy()) if origin is Origin.MEASURED else []


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C: what ends a session, or a batch job, ends the run."""
    # One that is ignored stays so: a run under nohup outlives its terminal.
    numbers = (signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
