"""The bound of a row is that of the hardware of its own node."""

from test_places import STARTED, facts, make_case, small

from bench.core.events import CaseEnded, PlaceEnded
from bench.core.records import Job, Origin, Stage, Status
from bench.machine.description import parse_description
from bench.predict.bounds import Hardware, add_bounds
from bench.run.place_rows import make_rows
from bench.run.rows import Place


def test_a_machine_file_of_one_node_bounds_the_row_of_that_node_alone():
    case = make_case("memcpy", bytes=2**28, ranks=2)
    job = Job("j", Stage.TARGET, 0, 2, 1, (case,))
    told = tuple(PlaceEnded(host=f"n{i}", ranks=(i,), status=Status.OK) for i in range(2))
    ended = CaseEnded(case=case.id, status=Status.OK, places=told)
    place = Place("r", Origin.MEASURED, job, 0)
    samples = {0: (0.1,) * 6, 1: (0.1,) * 6}
    rows = make_rows(place, case, ended, samples, facts((0, 1)), STARTED)
    known = Hardware({}, parse_description('hosts = ["n1"]\nmemory_bytes_per_s = 1e10\n'))
    first, second = add_bounds(rows, case, facts((0, 1)), known)
    assert "no fact states the bandwidth of main memory" in (first.bound_source or "")
    # It names the memory of this one; what its caches hold no fact tells.
    assert "facts of its host are not known" in (second.bound_source or "")


def test_a_job_that_told_nothing_has_no_bound():
    case = small(2)
    job = Job("j", Stage.TARGET, 0, 2, 1, (case,))
    ended = CaseEnded(case=case.id, status=Status.FAILED, reason="killed")
    rows = make_rows(Place("r", Origin.MEASURED, job, 0), case, ended, {}, None, None)
    (row,) = add_bounds(rows, case, None, Hardware())
    assert "never told where its ranks ran" in (row.bound_source or "")
