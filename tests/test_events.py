"""Events on a shared stream: every one arrives whole, or is known not to have."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from begun import begun_plan
from hypothesis import given
from hypothesis import strategies as st

from bench.contracts import LaunchCommand
from bench.core.events import (
    MARKER,
    CaseEnded,
    CaseMeasured,
    CaseStarted,
    CorruptEventError,
    Done,
    Facts,
    Failure,
    Hello,
    PlaceEnded,
    RankFacts,
    Samples,
    decode,
    encode,
)
from bench.core.records import Case, Job, Origin, Row, Status
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.run.runner import MOST_ATTEMPTS, Runner
from bench.store.folder import open_run
from bench.store.recorder import Recorder

EVENTS = [
    Hello("j", 1, "0.1", 2),
    Facts(
        ranks=(RankFacts("node-1", 7, (0, 1)),),
        mpi_library=None,
        thread_level="single",
        message_layer="numba",
        overhead_s=None,
        nodes={"node-1": {"cpu": {"model": "µ", "cores": 2, "numa": [0, None, 1.5]}}},
    ),
    CaseStarted("latency/bytes=8"),
    Samples("latency/bytes=8", 0, (1.034e-7, 0.1 + 0.2, 5e-324)),
    CaseEnded(case="latency/bytes=8", status=Status.OK, loops=256, params={"idle_ranks": 2}),
    CaseEnded(case="a", status=Status.SKIPPED, reason=f'\x1b[31m"\n{MARKER}\u2028'),
    Done("j"),
    Failure(1, "node-1", None, "RuntimeError: \r\n\x00"),
]

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
events = (
    st.builds(CaseStarted, case=names)
    | st.builds(
        Samples,
        case=names,
        rank=st.integers(0, 9),
        seconds=st.lists(st.floats(0, 1e3), max_size=5).map(tuple),
    )
    | st.builds(Failure, rank=st.integers(0, 9), host=names, case=st.none() | names, reason=names)
    | st.builds(Done, job=names)
)


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_one_line_and_arrives_as_it_was_sent(event):
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == event
    assert decode(line.rstrip(b"\n")) == event
    assert decode(line.replace(b"\n", b"\r\n")) == event


@given(events)
def test_any_event_arrives_with_all_its_digits_and_characters(event):
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    "before", [b"[node-1:7] WARNING ", b"\xff\xfe\x00", b"@clusterbench", b"@"]
)
def test_an_event_after_output_that_did_not_end_its_line_is_still_read(before):
    assert decode(before + encode(CaseStarted("a"))) == CaseStarted("a")


@given(st.binary(max_size=40))
def test_output_without_the_marker_is_log(line):
    assert decode(line.replace(b"@", b"")) is None


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_cut_at_any_byte_is_corrupt_and_never_another_event(event):
    line = encode(event).rstrip(b"\n")
    for cut in range(len(MARKER), len(line)):
        with pytest.raises(CorruptEventError):
            decode(line[:cut])


@given(events, st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
def test_an_event_with_other_output_inside_is_corrupt(event, place, noise):
    line = encode(event).rstrip(b"\n")
    start = len(MARKER) + 9
    at = start + place % (len(line) - start)
    with pytest.raises(CorruptEventError):
        decode(line[:at] + noise.replace(b"\n", b" ").replace(b"\r", b" ") + line[at:])


@given(events, st.integers(0, 10_000), st.integers(1, 255))
def test_an_event_with_one_byte_changed_is_corrupt(event, place, change):
    line = bytearray(encode(event).rstrip(b"\n"))
    at = len(MARKER) + 9 + place % (len(line) - len(MARKER) - 9)
    line[at] ^= change
    with pytest.raises(CorruptEventError):
        decode(bytes(line))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"00000000",
        b"00000000 ",
        b"zzzzzzzz {}",
        b"-1 {}",
        "٣ {}".encode(),
    ],
)
def test_a_frame_without_a_checksum_is_corrupt(text):
    with pytest.raises(CorruptEventError):
        decode(MARKER.encode() + text)


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"type":"gossip"}',
        b'{"type":"done"}',
        b'{"type":"done","job":3}',
        b'{"type":"samples","case":"a","rank":0,"seconds":["1"]}',
        b'{"type":"facts","ranks":[],"mpi_library":null,"thread_level":null,"message_layer":null,'
        b'"overhead_s":null,"nodes":{"a":{"b":' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
    ],
)
def test_a_frame_that_holds_no_event_is_corrupt_even_with_its_checksum(text):
    import zlib

    with pytest.raises(CorruptEventError):
        decode(MARKER.encode() + b"%08x " % zlib.crc32(text) + text)


class Printer:
    """Launches a process that prints what it is given, and nothing else."""

    name = "printer"
    most_ranks = None
    reaches_hosts = False
    nodes = None

    def place(self, _ranks: int) -> None:
        """Nobody knows where."""

    def __init__(self, folder: Path, *attempts: list[bytes]) -> None:
        self.folder = folder
        self.attempts = attempts

    def command(self, job: Job) -> LaunchCommand:
        lines = self.attempts[min(job.attempt, len(self.attempts) - 1)]
        path = self.folder / f"attempt-{job.attempt}"
        path.write_bytes(b"".join(lines))
        program = (
            "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)"
        )
        return LaunchCommand((sys.executable, "-P", "-c", program, str(path)), {})


class Silent:
    """Shows nobody how far the run is."""

    def started(self, case: Case, left_s: float) -> None: ...
    def ended(self, rows: Sequence[Row]) -> None: ...
    def waiting(self, left_s: float) -> None: ...
    def show(self, line: str) -> None: ...


SUITE = '[suite]\nname = "mine"\n[[benchmark]]\nname = "memcpy"\nbytes = [8, 16, 32]\n'
CASES = ["memcpy/bytes=8", "memcpy/bytes=16", "memcpy/bytes=32"]


def lines_of(case: str, *ranks: int) -> list[bytes]:
    """Return what a rank 0 sends of a case that goes well."""
    samples = [Samples(case, rank, (1e-6, 2e-6, 3e-6)) for rank in ranks or (0,)]
    ended = CaseEnded(case=case, status=Status.OK, loops=1)
    return [encode(event) for event in (CaseStarted(case), *samples, ended)]


def places_of(case: str, *times_s: float, missing: int | None = None) -> list[bytes]:
    """Return what a rank 0 sends of a case that every rank measured for itself."""
    samples = [Samples(case, rank, (t,) * (3 + rank)) for rank, t in enumerate(times_s)]
    told = tuple(
        PlaceEnded(host=f"n{rank}", ranks=(rank,), status=Status.OK) for rank in range(len(samples))
    )
    ended = CaseEnded(
        case=case,
        status=Status.OK,
        sampled_ranks=len(samples),
        sample_count=sum(len(each.seconds) for each in samples),
        places=told,
    )
    sent = [each for each in samples if each.rank != missing]
    return [encode(event) for event in (CaseStarted(case), *sent, ended)]


@pytest.mark.parametrize("missing", [None, 0, 2])
def test_places_whose_samples_are_all_here_have_a_row_each_or_the_case_has_none(tmp_path, missing):
    suite = SUITE.replace("[8, 16, 32]", "8\nranks = 3")
    plan = make_plan(parse_suite(suite, "mine"))
    (case,) = (case.id for job in plan.jobs for case in job.cases)
    ranks = tuple(RankFacts(f"n{rank}", 1, (0,)) for rank in range(3))
    facts = encode(Facts(ranks, None, None, None, None, {}))
    lines = [facts, *places_of(case, 1e-6, 2e-6, 4e-6, missing=missing), encode(Done("j"))]
    recorder = Recorder(begun_plan(tmp_path, plan, origin=Origin.REPLAYED, launcher="printer"))
    Runner(plan, Printer(tmp_path, lines), recorder, Silent(), lambda *_: []).run()
    recorder.finish()
    rows = open_run(tmp_path).rows()
    if missing is None:
        assert [(row.src, row.t_median_s, row.samples) for row in rows] == [
            ("n0", 1e-6, 3),
            ("n1", 2e-6, 4),
            ("n2", 4e-6, 5),
        ]
        return
    ((status, src, reason),) = [(row.status, row.src, row.reason) for row in rows]
    assert (status, src) == (Status.FAILED, None)
    assert reason is not None
    assert "did not arrive whole" in reason


def play(folder: Path, *attempts: list[bytes]) -> dict[str, Row]:
    """Run a plan of three cases whose jobs print these lines; return the rows by case."""
    plan = make_plan(parse_suite(SUITE, "mine"))
    recorder = Recorder(begun_plan(folder, plan, origin=Origin.REPLAYED, launcher="printer"))
    Runner(plan, Printer(folder, *attempts), recorder, Silent(), lambda *_: []).run()
    recorder.end("complete")
    recorder.finish()
    rows = open_run(folder).rows()
    assert sorted(row.case for row in rows) == sorted(CASES)
    return {row.case: row for row in rows}


def test_what_is_printed_between_events_is_kept_and_spoils_nothing(tmp_path):
    lines = [b"hello\n", *lines_of(CASES[0]), b"\xff\n", *lines_of(CASES[1]), b"no newline "]
    rows = play(tmp_path, [*lines, *lines_of(CASES[2]), encode(Done("j"))])
    assert {row.status for row in rows.values()} == {Status.OK}
    assert rows[CASES[0]].t_median_s == 2e-6
    assert rows[CASES[0]].attempt == 0


@pytest.mark.parametrize("torn", [0, 1, 2])
def test_a_case_of_which_an_event_was_torn_never_passes(torn, tmp_path):
    first = lines_of(CASES[0])
    first[torn] = first[torn][:40] + b"[node-1] WARNING: link down\n"
    again = [*lines_of(CASES[1]), *lines_of(CASES[2]), encode(Done("j"))]
    rows = play(tmp_path, [*first, *again])
    assert rows[CASES[0]].status is Status.FAILED
    assert rows[CASES[0]].reason
    assert rows[CASES[0]].t_median_s is None
    assert rows[CASES[1]].status is rows[CASES[2]].status is Status.OK


def test_a_torn_event_of_one_rank_of_two_fails_the_case(tmp_path):
    first = lines_of(CASES[0], 0, 1)
    first[1] = b"mixed " + first[1][:30] + b"\n"
    rows = play(tmp_path, [*first, *lines_of(CASES[1]), *lines_of(CASES[2]), encode(Done("j"))])
    assert rows[CASES[0]].status is Status.FAILED


def test_a_case_that_passed_without_samples_never_passes(tmp_path):
    silent = [encode(CaseStarted(CASES[0])), encode(CaseEnded(case=CASES[0], status=Status.OK))]
    rows = play(tmp_path, [*silent, *lines_of(CASES[1]), *lines_of(CASES[2]), encode(Done("j"))])
    assert rows[CASES[0]].status is Status.FAILED
    assert rows[CASES[0]].reason


def test_cases_of_which_a_job_sent_nothing_are_tried_again(tmp_path):
    short = [*lines_of(CASES[0]), encode(Done("j"))]
    rows = play(tmp_path, short, [*lines_of(CASES[1]), *lines_of(CASES[2]), encode(Done("j"))])
    assert [rows[case].attempt for case in CASES] == [0, 1, 1]
    assert {row.status for row in rows.values()} == {Status.OK}


def test_cases_of_which_no_job_sends_anything_end_as_failed_rows(tmp_path):
    rows = play(tmp_path, [*lines_of(CASES[0]), encode(Done("j"))])
    assert rows[CASES[0]].status is Status.OK
    assert rows[CASES[1]].status is rows[CASES[2]].status is Status.FAILED
    assert "not measured" in rows[CASES[1]].reason
    assert len(list(tmp_path.glob("attempt-*"))) <= MOST_ATTEMPTS


def test_events_of_cases_that_nobody_planned_are_no_rows(tmp_path):
    everything = [line for case in CASES for line in lines_of(case)]
    play(tmp_path, [*lines_of("memcpy/bytes=64"), *everything, encode(Done("j"))])


def test_a_case_sent_twice_has_one_row(tmp_path):
    everything = [line for case in CASES for line in lines_of(case)]
    rows = play(tmp_path, [*everything, *lines_of(CASES[0]), encode(Done("j"))])
    assert len(rows) == 3


FACTS = Facts((RankFacts("a", 1, (0,)), RankFacts("a", 2, (1,))), None, None, None, None, nodes={})


def counted(case: str) -> list[bytes]:
    """Return what a rank 0 sends of a case of two ranks, with how many sent samples."""
    lines = lines_of(case, 0, 1)
    ended = CaseEnded(case=case, status=Status.OK, loops=1, sampled_ranks=2)
    return [*lines[:-1], encode(ended)]


def tear(line: bytes) -> bytes:
    """Return a line with other output inside its marker, so that it is log."""
    torn = line[:7] + b"x WARN" + line[7:]
    assert decode(torn) is None
    return torn


@pytest.mark.parametrize("torn", [1, 2])
def test_a_rank_whose_line_became_log_is_missed(torn, tmp_path):
    first = counted(CASES[0])
    first[torn] = tear(first[torn])
    others = [*counted(CASES[1]), *counted(CASES[2]), encode(Done("j"))]
    rows = play(tmp_path, [encode(FACTS), *first, *others])
    assert rows[CASES[0]].status is Status.FAILED
    assert "arrive whole" in rows[CASES[0]].reason
    assert rows[CASES[0]].t_median_s is None
    assert rows[CASES[1]].status is rows[CASES[2]].status is Status.OK


def test_rows_of_a_job_whose_facts_became_log_fail(tmp_path):
    lines = [line for case in CASES for line in counted(case)]
    rows = play(tmp_path, [tear(encode(FACTS)), *lines, encode(Done("j"))])
    assert {row.status for row in rows.values()} == {Status.FAILED}
    assert all("facts" in row.reason for row in rows.values())


@pytest.mark.parametrize("spoil", [tear, lambda line: line[:30] + b"\n"])
def test_a_job_whose_every_case_ended_needs_no_last_word(spoil, tmp_path, monkeypatch):
    troubles: list[str] = []
    monkeypatch.setattr(Silent, "show", lambda _self, line: troubles.append(line))
    lines = [line for case in CASES for line in counted(case)]
    rows = play(tmp_path, [encode(FACTS), *lines, spoil(encode(Done("j")))])
    assert {row.status for row in rows.values()} == {Status.OK}
    assert troubles == []
    assert len(list(tmp_path.glob("attempt-*"))) == 1


@pytest.mark.parametrize("held", [False, True])
def test_cases_that_end_their_job_cost_none_of_the_others_their_row(held, tmp_path):
    """Four side by side; each start of the job ends in the first of these that it meets.

    Where rows are held until the end of a round, those before it are lost, and yet were measured.
    """
    suite = SUITE.replace("[8, 16, 32]", str([8 * 2**i for i in range(16)]))
    plan = make_plan(parse_suite(suite, "mine"))
    longest = max(plan.jobs, key=lambda job: len(job.cases))
    assert len(longest.cases) > 6
    bad = {case.id for case in longest.cases[2:6] if held} or {
        case.id for case in longest.cases[:4]
    }

    class Ending(Printer):
        def command(self, job: Job) -> LaunchCommand:
            lines: list[bytes] = []
            for case in job.cases:
                if case.id in bad:
                    lines += [encode(CaseStarted(case.id))]
                    break
                lines += [encode(CaseStarted(case.id)), encode(CaseMeasured(case.id, 1.0))]
                lines += [] if held else lines_of(case.id)
            else:
                lines = [line for case in job.cases for line in lines_of(case.id)]
            self.attempts = (lines,)
            return super().command(job)

    recorder = Recorder(begun_plan(tmp_path, plan, origin=Origin.REPLAYED, launcher="printer"))
    Runner(plan, Ending(tmp_path, []), recorder, Silent(), lambda *_: []).run()
    recorder.finish()
    rows = open_run(tmp_path).rows()
    assert len(rows) == 16
    assert {row.case for row in rows if row.status is Status.FAILED} == bad
