"""A comparison from its request, or from where it stopped, to its finished folder."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import __version__
from bench.core.clock import utc_now
from bench.core.errors import RequestError
from bench.core.records import Finding
from bench.judge.compare.looks import LEAST_LAUNCHES
from bench.run.ab.asked import Asked, More, check_request, stored_asked
from bench.run.ab.conduct import Conductor, LookAt, Say
from bench.run.ab.crossover import NODES, Pair
from bench.run.ab.facts import tell_changes
from bench.run.ab.keys import choose_arm
from bench.run.ab.manual import Ask, tell_change, tell_continue
from bench.run.ab.messages import Ready, Task
from bench.run.ab.order import choose_pairs, plan_slots
from bench.run.ab.process import ArmProcess
from bench.run.ab.schedule import (
    change_by_hand,
    count_launches,
    next_slots,
    until_change,
)
from bench.run.end import interruptible
from bench.run.request import Request
from bench.store.ab import SIDES, AbRecord, Side, read_ab, read_suite, write_suite
from bench.store.begin import create_ab_folder
from bench.store.files import RUN_FILE
from bench.store.folder import open_run
from bench.store.lock import lock_run

NOTHING_CHANGED = "nothing-changed-by-hand"
Arms = dict[str, ArmProcess]


class Conducted(msgspec.Struct, frozen=True):
    """How a comparison stands after a sitting."""

    folder: Path
    interrupted: bool = False
    waiting: bool = False
    """For a change by hand."""


class Sitting:
    """One process that measures a comparison, or part of it.

    Args:
        record: as it is; it is added to.
        request: of both sides.
        suite_text: of both sides.
        say: shows a person a line.
        look: tells what the launches so far say.
        ask: whether a change by hand is done.
        force: whether to go on although MPI, program or hosts have changed.
    """

    def __init__(
        self,
        record: AbRecord,
        request: Request,
        suite_text: str,
        say: Say,
        look: LookAt,
        ask: Ask,
        force: bool = False,
    ) -> None:
        self._record = record
        self._request = msgspec.structs.replace(request, seed=record.suite_seed)
        self._suite_text = suite_text
        self._say = say
        self._look = look
        self._ask = ask
        self._force = force

    def begin(self, parent: Path) -> Conducted:
        """Measure a new comparison; its folder is made once both arms can be measured.

        Raises:
            BenchError: where it cannot begin, or go on.
        """
        record = self._record
        with interruptible(), self._arms(None) as arms:
            folder = create_ab_folder(parent, record.suite_name)
            record.name = folder.name
            write_suite(folder, self._suite_text)
            with lock_run(folder):
                return self._carry_out(folder, arms)

    def go_on(self, folder: Path) -> Conducted:
        """Measure what is left of a comparison, whose folder is locked.

        Raises:
            BenchError: where it cannot go on.
        """
        with interruptible(), self._arms(folder) as arms:
            return self._carry_out(folder, arms)

    def _carry_out(self, folder: Path, arms: Arms) -> Conducted:
        """Measure up to the next change by hand that nobody is there to make, or to the end."""
        conductor = Conductor(folder, self._record, self._say, self._look)
        conductor.save()
        try:
            while True:
                conductor.measure(arms)
                for arm in arms.values():
                    arm.ask_to_close()
                for arm in arms.values():
                    arm.wait_for_close()
                self._look_at_change(conductor)
                slots = next_slots(self._record.slots)
                if not slots:
                    conductor.finish()
                    return Conducted(folder)
                for line in tell_change(self._record.manual or "", slots[0].period or 0):
                    self._say(line)
                if not self._ask(tell_continue(folder)):
                    return Conducted(folder, waiting=True)
                arms.clear()
                self._open(folder, arms)
        except KeyboardInterrupt:
            return Conducted(folder, interrupted=True)

    def _look_at_change(self, conductor: Conductor) -> None:
        """After B: warn where nothing of the machine is otherwise than in A's first half."""
        slots = next_slots(self._record.slots)
        if self._record.manual is None or not slots or slots[0].period != 2:
            return
        a, b = (open_run(conductor.folder / side).nodes for side in SIDES)
        if not tell_changes(a.by_host(), b.by_host()):
            conductor.keep(
                Finding(
                    name=NOTHING_CHANGED,
                    level="warning",
                    text="nothing that is read of the machine differs between A and B",
                    advice="look whether the change has taken effect, unless it is one that no "
                    "fact shows",
                )
            )

    @contextlib.contextmanager
    def _arms(self, folder: Path | None) -> Iterator[Arms]:
        """Give the arms of the next slots, ready; whatever happens, none is left running."""
        arms: Arms = {}
        try:
            self._open(folder, arms)
            yield arms
        finally:
            for arm in arms.values():
                arm.ask_to_end()
            for arm in arms.values():
                arm.wait_for_end()

    def _open(self, folder: Path | None, arms: Arms) -> None:
        slots = until_change(self._record.slots, self._record.manual is not None)
        left = [slot for slot in slots if slot.state != "done"]
        for side in SIDES:
            if any(slot.side == side for slot in left):
                launches = count_launches(slots, side)
                arms[side] = self._start(side, folder, launches, left[0].period or 0)
        cases = {}
        for side, arm in arms.items():
            ready = arm.ready()
            cases[side] = ready.cases
            for note in ready.notes:
                self._say(f"{side.upper()}: {note}")
            self._plan_again(side, ready)
        if len(set(cases.values())) > 1:
            counted = " and ".join(f"{side.upper()} {count}" for side, count in cases.items())
            self._say(f"cases of a launch: {counted}; what only one side has is not compared")

    def _start(self, side: str, folder: Path | None, launches: int, period: int) -> ArmProcess:
        record = self._record
        arm = choose_arm(f"--{side}", record.sides[side].sets, self._request)
        begun = None if folder is None else folder / side
        task = Task(
            side=side,
            request=msgspec.structs.replace(arm.request, launches=launches),
            suite_text=self._suite_text,
            suite_source=self._request.suite,
            nodes=NODES if record.pairs else None,
            folder=begun if begun is not None and (begun / RUN_FILE).is_file() else None,
            parameters=arm.parameters,
            by_hand=record.manual is not None and period > 1,
            force=self._force,
        )
        return ArmProcess(task, arm.python)

    def _plan_again(self, side: str, ready: Ready) -> None:
        """Plan launches again in which rows are missing or failed; they have no neighbour now."""
        for slot in self._record.slots:
            if slot.side == side and slot.state == "done" and slot.launch in ready.unfinished:
                slot.state, slot.seconds, slot.block = "planned", None, None


def begin_ab(asked: Asked, parent: Path, say: Say, look: LookAt, ask: Ask) -> Conducted:
    """Measure a new comparison.

    Args:
        asked: what is compared.
        parent: of its folder.
        say: shows a person a line.
        look: tells what the launches so far say.
        ask: whether a change by hand is done.

    Raises:
        BenchError: where it cannot begin, or go on; then what was measured is kept.
    """
    suite = check_request(asked.request)
    if asked.manual is None and asked.sets["a"] == asked.sets["b"]:
        say("A and B set the same: whatever differs between them is chance")
    if suite.budget_s is not None:
        say("the budget of the suite is left aside: launches that are cut cannot be compared")
    seed = secrets.randbits(32)
    pairs: tuple[Pair, ...] = ()
    if asked.manual is not None:
        slots = change_by_hand(asked.launches)
    else:
        requests = {
            side: choose_arm(f"--{side}", asked.sets[side], asked.request).request for side in SIDES
        }
        pairs = choose_pairs(requests, suite, seed, say)
        first = min(LEAST_LAUNCHES, asked.launches) if asked.until_decided else asked.launches
        slots = plan_slots(seed, pairs, first)
    record = AbRecord(
        name="",
        version=__version__,
        suite_name=suite.name,
        started_utc=utc_now(),
        flags=asked.request.flags(),
        seed=seed,
        suite_seed=suite.seed if asked.request.seed is None else asked.request.seed,
        launches=asked.launches,
        until_decided=asked.until_decided,
        margin=asked.margin,
        manual=asked.manual,
        pairs=pairs,
        sides={side: Side(sets=asked.sets[side]) for side in SIDES},
        slots=slots,
    )
    return Sitting(record, asked.request, suite.text, say, look, ask).begin(parent)


def go_on_ab(folder: Path, more: More, say: Say, look: LookAt, ask: Ask, force: bool) -> Conducted:
    """Measure what is left of a comparison, and more of it where that is asked for.

    Args:
        folder: of the comparison.
        more: launches than were planned.
        say: shows a person a line.
        look: tells what the launches so far say.
        ask: whether a change by hand is done.
        force: whether to accept that MPI, program or hosts have changed.

    Raises:
        BenchError: where it is none, somebody else measures it, or it cannot go on.
    """
    read_ab(folder)
    folder = folder.resolve()
    with lock_run(folder):
        # Read again once nobody else can write it.
        record = read_ab(folder)
        _part_blocks(record)
        _plan_more(record, more)
        if not next_slots(record.slots):
            return Conducted(folder)
        record.finished_utc = None
        suite = read_suite(folder)
        request = stored_asked(record.flags, record.suite_name)
        return Sitting(record, request, suite, say, look, ask, force).go_on(folder)


def _part_blocks(record: AbRecord) -> None:
    """Part the launches of a block that an interruption has parted: they were no neighbours."""
    open_blocks = {slot.block for slot in record.slots if slot.state != "done"}
    done_blocks = {slot.block for slot in record.slots if slot.state == "done"}
    for slot in record.slots:
        if slot.block in open_blocks & done_blocks:
            slot.block = None


def _plan_more(record: AbRecord, more: More) -> None:
    """Plan more launches.

    Raises:
        RequestError: where something was changed by hand in between, or there are as many already.
    """
    launches = more.launches
    if more.until_decided and not record.until_decided:
        record.until_decided = True
    if launches is None:
        return
    if record.manual is not None:
        raise RequestError(
            "a comparison with a change by hand does not grow: its launches would be measured "
            "after the last change; begin a new one with more --launches"
        )
    planned = count_launches(record.slots, SIDES[0])
    if launches < planned:
        raise RequestError(
            f"{planned} launches of each side are planned or done already; ask for more than that"
        )
    record.launches = launches
    if not record.until_decided:
        record.slots += plan_slots(record.seed, record.pairs, launches, planned)
    elif not next_slots(record.slots) and planned < launches:
        record.slots += plan_slots(record.seed, record.pairs, planned + 1, planned)
