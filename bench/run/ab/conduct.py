"""Measures the slots of a comparison, one after the other or side by side."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.core.clock import utc_now
from bench.core.errors import LaunchError, printable
from bench.core.records import Finding
from bench.core.verdict import Outcome, Verdict
from bench.run.ab.drift import find_drift, read_times, shifts, tell_shift
from bench.run.ab.manual import tell_continue
from bench.run.ab.messages import Launched, Measure
from bench.run.ab.order import plan_slots
from bench.run.ab.process import ArmProcess
from bench.run.ab.schedule import count_launches, next_slots, until_change
from bench.store.ab import SIDES, AbRecord, Look, Slot, write_ab
from bench.store.folder import open_run

Say = Callable[[str], None]
"""Shows a person a line."""
LookAt = Callable[[Path, float], Verdict]
"""From the folder of a comparison, and the margin, to what its launches say so far."""
_SHOWN_SHIFT = 0.05
"""Of both sides, since their first launches: told at once."""
NOT_BACK = "not-changed-back"


class Conductor:
    """Has the slots of a comparison measured, and keeps how far it is.

    Args:
        folder: of the comparison, which nobody else writes.
        record: as it is.
        say: shows a line.
        look: tells what the launches so far say.
    """

    def __init__(self, folder: Path, record: AbRecord, say: Say, look: LookAt) -> None:
        self.folder = folder
        self.record = record
        self.say = say
        self._look = look
        self._times_s: dict[str, dict[int, dict[str, float]]] = {side: {} for side in SIDES}
        """Of this sitting, by side and launch."""

    def measure(self, arms: Mapping[str, ArmProcess]) -> None:
        """Measure all slots that are left before the next change by hand.

        Raises:
            BenchError: where an arm cannot go on; what was measured is kept.
        """
        for side, arm in arms.items():
            # One after the other: each looks at what else the machine is busy with.
            arm.begin(self.folder / side)
        period = self._next_period()
        while (slots := next_slots(self.record.slots)) and self._next_period() == period:
            for slot in slots:
                slot.state, slot.begun_utc = "begun", utc_now()
            self.save()
            planned = until_change(self.record.slots, self.record.manual is not None)
            for slot in slots:
                run_slot(arms[slot.side], slot, count_launches(planned, slot.side))
            for slot in slots:
                self._end(slot, arms[slot.side].wait())
            self.save()
            if self.record.until_decided:
                self._stop_or_go_on()

    def _next_period(self) -> int | None:
        """Return how often something is changed by hand before the next slot."""
        slots = next_slots(self.record.slots)
        return slots[0].period if slots and self.record.manual is not None else None

    def save(self) -> None:
        """Keep how far it is."""
        write_ab(self.folder, self.record)

    def _end(self, slot: Slot, launched: Launched) -> None:
        if not launched.times_s:
            why = printable(launched.reason or "no case of it can be measured here", 400)
            raise LaunchError(
                f"side {slot.side}: nothing was measured in launch {slot.launch}: {why}; mend it, "
                f"then go on with `{tell_continue(self.folder)}`"
            )
        slot.state, slot.seconds = "done", launched.seconds
        self._times_s[slot.side][slot.launch] = launched.times_s
        done = sum(s.state == "done" for s in self.record.slots if s.side == slot.side)
        planned = count_launches(self.record.slots, slot.side)
        line = f"{slot.side.upper()} {done} of {planned}: {launched.seconds:.1f} s"
        if launched.failed:
            line += f", {launched.failed} failed: {printable(launched.reason, 200)}"
        self.say(line + self._note_drift())
        for change in launched.changed:
            self.keep(
                Finding(
                    name=NOT_BACK,
                    level="warning",
                    text=f"after the change back, {change}",
                    advice="set it back, and begin a new comparison",
                )
            )

    def _note_drift(self) -> str:
        """Return a note where both sides are now much slower, or faster, than at first."""
        now = []
        for side in SIDES:
            by_launch = shifts(self._times_s[side])
            if len(by_launch) < 2:
                return ""
            now.append(by_launch[max(by_launch)] - by_launch[min(by_launch)])
        low = min(now, key=abs)
        if abs(low) < _SHOWN_SHIFT or (now[0] > 0) != (now[1] > 0):
            return ""
        return f"; both sides are {tell_shift(low)} than at first"

    def keep(self, finding: Finding) -> None:
        """Keep a finding, and say it the first time."""
        if finding not in self.record.findings:
            self.record.findings.append(finding)
            self.save()
            self.say(f"{finding.text}; {finding.advice}" if finding.advice else finding.text)

    def _stop_or_go_on(self) -> None:
        """After the last block that is planned so far: look, and plan one more where it helps."""
        record = self.record
        if next_slots(record.slots):
            return
        done = count_launches(record.slots, SIDES[0])
        verdict = self._look(self.folder, record.margin)
        counts = dict.fromkeys(SIDES, done)
        record.looks.append(Look(utc=utc_now(), launches=counts, outcome=verdict.outcome))
        self.say(f"after {done} launches of each side: {printable(verdict.text, 300)}")
        if verdict.outcome is Outcome.CANNOT_TELL and done < record.launches:
            record.slots += plan_slots(record.seed, record.pairs, done + 1, done)
        self.save()

    def finish(self) -> None:
        """Note what all launches show, where all that were planned are done."""
        if next_slots(self.record.slots):
            return
        # From the files: earlier sittings had launches too.
        rows = {side: open_run(self.folder / side).rows() for side in SIDES}
        if finding := find_drift({side: read_times(own) for side, own in rows.items()}):
            self.keep(finding)
        self.record.finished_utc = utc_now()
        self.save()


def run_slot(arm: ArmProcess, slot: Slot, launches: int) -> None:
    """Have an arm begin a slot; its `wait` tells how that ended.

    Slots of several arms can be begun one after the other, and then waited for.

    Args:
        arm: whose run has begun, and that has nothing to measure.
        slot: what to measure.
        launches: planned of the side by now.
    """
    arm.start(Measure(launch=slot.launch, launches=launches, hosts=slot.hosts))
