"""Every pair of ranks: which cases there are, who measures, and the host that stands out."""

import itertools
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from begun import begun
from hypothesis import given
from hypothesis import strategies as st
from test_measure import RECEIVED, Member, Wire, make_case, verify_pair
from test_mpi import by_case, run
from test_rows import facts, row_of

from bench.contracts import Context
from bench.core.errors import SuiteError
from bench.core.records import About, Axis, Case, Row, Status, parse_params
from bench.judge.findings import row_findings
from bench.judge.headline import headlines
from bench.judge.hosts import STANDS_OUT, Line, compare_hosts, make_matrices
from bench.judge.table import load
from bench.measure import MEASUREMENTS
from bench.measure.pairs import MOST_RANKS
from bench.plan.plan import expand, make_plan
from bench.plan.suite import Block, load_suite, parse_suite
from bench.rank.context import open_context
from bench.rank.world import SoloWorld
from bench.report import build
from bench.store.files import RESULTS_FILE, Appender
from bench.store.folder import open_run
from bench.store.nodes import Nodes
from bench.store.tables import csv_lines, header_line


def cases_of(name: str, ranks: int, **axes: tuple[Axis, ...]) -> list[Case]:
    default = {axis.name: axis.default for axis in MEASUREMENTS[name].axes}
    return list(expand(Block(name, {**default, "ranks": (ranks,), **axes})))


def ends(case: Case) -> tuple[int, int]:
    return int(case.axes["src_rank"]), int(case.axes["dst_rank"])


# Which cases there are.


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_bandwidth_has_every_pair_in_both_orders_and_latency_each_pair_once(ranks: int) -> None:
    both = [ends(case) for case in cases_of("pairs_bandwidth", ranks)]
    once = [ends(case) for case in cases_of("pairs_latency", ranks)]
    assert sorted(both) == sorted(itertools.permutations(range(ranks), 2))
    assert sorted(once) == sorted(itertools.combinations(range(ranks), 2))


def test_the_ids_of_pairs_name_their_ranks_and_differ() -> None:
    ids = [case.id for case in cases_of("pairs_bandwidth", 4, bytes=(8, 16))]
    assert len(set(ids)) == 24
    assert "pairs_bandwidth/bytes=8/dst_rank=0/ranks=4/src_rank=3" in ids


def test_axes_of_a_case_are_sorted_as_those_of_any_other() -> None:
    assert all(list(c.axes) == sorted(c.axes) for c in cases_of("pairs_bandwidth", 3))


def test_pairs_of_too_many_ranks_are_refused_before_they_are_made() -> None:
    sizes = ", ".join(map(str, range(1, 101)))
    text = f'[suite]\nname = "x"\n[[benchmark]]\nname = "pairs_bandwidth"\nbytes = [{sizes}]\n'
    with pytest.raises(SuiteError, match="6528000 cases"):
        make_plan(parse_suite(f"{text}ranks = {MOST_RANKS}\n", "x"))


def test_all_pairs_of_a_world_size_are_one_job() -> None:
    jobs = make_plan(load_suite("cluster")).jobs
    assert len([job for job in jobs if job.stage == "target"]) == 1


# Who measures.


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


@pytest.mark.parametrize("name", ["pairs_latency", "pairs_bandwidth"])
def test_the_two_ranks_of_a_case_measure_and_the_others_sleep(name: str, context: Context) -> None:
    case = next(case for case in cases_of(name, 5) if ends(case) == (1, 3))
    for rank in range(5):
        here = msgspec.structs.replace(
            context, communicator=Member(rank, 5), message_loops=Wire(None).end(0)
        )
        operation: Any = MEASUREMENTS[name].prepare(case, here)
        assert operation.idle == (rank not in (1, 3))
        if not operation.idle:
            assert operation.peer == (3 if rank == 1 else 1, rank == 1)


@pytest.mark.parametrize("name", ["pairs_latency", "pairs_bandwidth"])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_pair_verifies_what_it_receives(name: str, wrong: bool, context: Context) -> None:
    def fault(number: int, message: bytes) -> bytes:
        return message[:-1] + bytes([message[-1] ^ 1]) if number == 0 and wrong else message

    windows = {"window": 4} if name == "pairs_bandwidth" else {}
    case = make_case(name, bytes=1000, **windows)
    found = verify_pair(case, context, Wire(fault))
    like = name.removeprefix("pairs_")
    assert tuple(checked.bytes_checked for checked in found) == RECEIVED[like]
    assert sum(checked.bytes_wrong for checked in found) == wrong


def test_the_row_names_the_hosts_of_its_pair() -> None:
    where = facts(("a", (0,)), ("b", (0,)), ("c", (0,)), ("d", (0,)))
    case = next(c for c in cases_of("pairs_bandwidth", 4) if ends(c) == (3, 1))
    row = row_of(case, {1: (2e-3, 2e-3), 3: (1e-3, 4e-3)}, where)
    assert (row.src, row.dst) == ("d:rank3", "b:rank1")
    assert row.t_median_s == pytest.approx(3e-3)
    assert (row.rank_agg, row.direction) == ("max", "uni")


SUITE = """
[suite]
name = "pairs"
cap_s = 0.02
[[benchmark]]
name = "pairs_latency"
ranks = 3
[[benchmark]]
name = "pairs_bandwidth"
bytes = "64 KiB"
window = 4
ranks = 3
"""


@pytest.mark.mpi
def test_every_pair_of_three_ranks_is_measured_though_rank_0_sleeps_in_some(tmp_path: Path) -> None:
    done = run(tmp_path, suite=SUITE)
    rows = by_case(done)
    assert len(rows) == 3 + 6
    assert {parse_params(row.params)["idle_ranks"] for row in rows.values()} == {"1"}
    assert {row.status for row in rows.values()} == {Status.OK}
    measured: dict[str, set[int]] = {}
    for sample in done.samples():
        measured.setdefault(sample.case, set()).add(sample.rank)
    for row in rows.values():
        ranks = {int((end or "").rpartition("rank")[2]) for end in (row.src, row.dst)}
        assert measured[row.case] == ranks
        assert row.loops
        assert row.warmups
        assert row.bytes_checked
        assert row.bytes_wrong == 0


# The host that stands out.


def lines(rates: dict[tuple[str, str], float]) -> list[Line]:
    names = sorted({host for pair in rates for host in pair})
    return [
        Line(
            f"{source}:rank{names.index(source)}",
            f"{target}:rank{names.index(target)}",
            2**20,
            8,
            "host",
            "direct",
            rate,
        )
        for (source, target), rate in rates.items()
    ]


def cluster(
    count: int, sends: dict[int, float] | None = None, receives: dict[int, float] | None = None
) -> dict[tuple[str, str], float]:
    """Return rates of 50 MB/s, and less from and to these hosts: the slower end decides."""
    return {
        (f"h{i}", f"h{j}"): min((sends or {}).get(i, 50e6), (receives or {}).get(j, 50e6))
        for i, j in itertools.permutations(range(1, count + 1), 2)
    }


def odd_ones(rates: dict[tuple[str, str], float]) -> dict[str, str]:
    (matrix,) = make_matrices(lines(rates))
    return {host.host: host.text for host in compare_hosts(matrix) if host.text}


@pytest.mark.parametrize("count", [3, 4, 8, 16])
@pytest.mark.parametrize("slow", [1, 2, 3])
def test_a_slow_host_stands_out_and_nobody_else(count: int, slow: int) -> None:
    found = odd_ones(cluster(count, {slow: 12.5e6}, {slow: 12.5e6}))
    assert list(found) == [f"h{slow}"]
    assert found[f"h{slow}"].startswith("sends at 25 % of the median of the others (12.5 MB/s")
    assert "and receives at 25 %" in found[f"h{slow}"]


@pytest.mark.parametrize("count", [3, 4, 8])
def test_a_host_slow_in_one_direction_is_said_to_be_so(count: int) -> None:
    sending = odd_ones(cluster(count, sends={3: 35e6}))
    assert list(sending) == ["h3"]
    assert "sends at 70 %" in sending["h3"]
    assert "receives" not in sending["h3"]
    receiving = odd_ones(cluster(count, receives={2: 35e6}))
    assert list(receiving) == ["h2"]
    assert "sends" not in receiving["h2"]


def test_of_two_hosts_none_stands_out() -> None:
    assert odd_ones(cluster(2, {1: 1e6})) == {}


def test_one_slow_pair_makes_neither_of_its_hosts_stand_out() -> None:
    for count in (3, 4, 6):
        assert odd_ones({**cluster(count), ("h1", "h2"): 5e6}) == {}


def test_where_half_of_the_hosts_are_slow_none_is_blamed() -> None:
    assert odd_ones(cluster(4, {1: 10e6, 2: 10e6}, {1: 10e6, 2: 10e6})) == {}


@given(st.integers(3, 10), st.randoms(use_true_random=False))
def test_scatter_of_five_per_cent_blames_nobody(count: int, random: Any) -> None:
    rates = {pair: rate * random.uniform(0.95, 1.0) for pair, rate in cluster(count).items()}
    assert odd_ones(rates) == {}


@given(st.integers(4, 12), st.randoms(use_true_random=False), st.floats(0.05, 0.8))
def test_a_host_off_by_more_than_the_scatter_is_always_found(
    count: int, random: Any, share: float
) -> None:
    slow = random.randint(1, count)
    truth = cluster(count, {slow: 50e6 * share}, {slow: 50e6 * share})
    found = odd_ones({pair: rate * random.uniform(0.99, 1.0) for pair, rate in truth.items()})
    assert list(found) == [f"h{slow}"]


def test_hosts_come_in_the_order_of_their_ranks_and_ranks_of_a_host_together() -> None:
    rates = {("z:rank0", "a:rank2"): 10.0, ("z:rank1", "a:rank3"): 20.0}
    rates["z:rank0", "z:rank1"] = 99.0
    (matrix,) = make_matrices(Line(*pair, 8, 1, "host", "direct", r) for pair, r in rates.items())
    assert matrix.hosts == ("z", "a")
    assert matrix.rates == {("z", "a"): 15.0}


def test_the_largest_messages_are_compared_and_each_kind_of_memory_alone() -> None:
    small = [line._replace(size=8, rate=1.0) for line in lines(cluster(3))]
    device = [line._replace(memory="device", rate=9e9) for line in lines(cluster(3))]
    host, other = make_matrices([*small, *lines(cluster(3)), *device])
    assert set(host.rates.values()) == {50e6}
    assert set(other.rates.values()) == {9e9}
    assert "device memory" in other.kind


def test_shared_buffers_are_no_part_of_the_matrix_of_others() -> None:
    rates = cluster(4)
    _, own = measured_rows(rates)
    quick = {pair: 3 * rate if "h1" in pair else rate for pair, rate in rates.items()}
    _, shared = measured_rows(quick, buffers=("shared",))
    found = [f for f in row_findings([*own, *shared]) if f.name == STANDS_OUT]
    assert [("shared buffers" in finding.text) for finding in found] == [True]
    assert not [f for f in row_findings(own) if f.name == STANDS_OUT]


# From the rows of a run to its page.


def measured_rows(
    rates: dict[tuple[str, str], float], name: str = "pairs_bandwidth", **axes: tuple[Axis, ...]
) -> tuple[list[Case], list[Row]]:
    hosts = sorted({host for pair in rates for host in pair})
    where = facts(*((host, (0,)) for host in hosts))
    cases = cases_of(name, len(hosts), **{"window": (8,), **axes})
    rows = []
    for case in cases:
        source, target = ends(case)
        seconds = 2**20 / rates[hosts[source], hosts[target]]
        rows.append(row_of(case, {source: (seconds,) * 6, target: (seconds,) * 6}, where))
    return cases, rows


def write_pairs(folder: Path, rates: dict[tuple[str, str], float]) -> Path:
    return write_rows(folder, *measured_rows(rates))


def write_rows(folder: Path, cases: list[Case], rows: list[Row]) -> Path:
    hosts = sorted(
        {end.partition(":")[0] for row in rows for end in (row.src or "", row.dst or "")}
    )
    job = msgspec.structs.replace(make_plan(load_suite("cluster")).jobs[0], cases=tuple(cases))
    begun(
        folder,
        [msgspec.structs.replace(job, launch=rows[0].launch)],
        name="cluster",
        outcome="complete",
        nodes=Nodes(hosts=dict.fromkeys(hosts, "unknown")),
        findings=row_findings(rows),
    )
    out = Appender(folder / RESULTS_FILE, header_line(Row))
    out.write(csv_lines(rows))
    out.close()
    return folder


def test_a_run_keeps_a_warning_that_names_the_host() -> None:
    _, rows = measured_rows(cluster(4, {3: 12.5e6}, {3: 12.5e6}))
    (finding,) = (finding for finding in row_findings(rows) if finding.name == STANDS_OUT)
    assert finding.level == "warning"
    assert finding.text.startswith("h3 sends at 25 % of the median of the others")
    assert "h3" in (finding.advice or "")


@pytest.mark.parametrize(
    "ways", [({3: 12.5e6}, {3: 25e6}), ({3: 25e6}, {3: 12.5e6}), ({3: 12.5e6},)]
)
def test_the_warning_holds_the_host_and_its_worse_way(ways: tuple[dict[int, float], ...]) -> None:
    _, rows = measured_rows(cluster(4, *ways))
    (finding,) = (finding for finding in row_findings(rows) if finding.name == STANDS_OUT)
    assert finding.about == About(hosts=("h3",))
    assert (finding.value, finding.limit) == (pytest.approx(12.5e6), pytest.approx(50e6))
    assert finding.unit == "B/s"


def test_failed_rows_and_even_hosts_make_no_warning() -> None:
    _, rows = measured_rows(cluster(4))
    failed = [msgspec.structs.replace(rows[0], gbytes_per_s=None, status=Status.FAILED)]
    assert STANDS_OUT not in {finding.name for finding in row_findings([*rows[1:], *failed])}


def test_the_page_has_a_map_of_hosts_and_says_who_stands_out(tmp_path: Path) -> None:
    run_folder = write_pairs(tmp_path / "run", cluster(4, {3: 12.5e6}, {3: 12.5e6}))
    page = build([open_run(run_folder)], tmp_path / "out").read_text()
    section = re.search(r'<section id="hosts">.*?</section>', page, re.DOTALL)
    assert section
    text = section[0]
    assert "h3 stands out: it sends at 25 % of the median of the others" in text
    assert "12.5 MB/s" in text
    assert text.count("<td") == 4 * 6
    assert "data:image/svg" in text
    assert (tmp_path / "out" / "figures" / "hosts.svg").is_file()
    assert "pairs_bandwidth h3 to h1 1 MiB" in page
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "stands out" in markdown


def test_without_a_name_the_host_still_stands_out(tmp_path: Path) -> None:
    run_folder = write_pairs(tmp_path / "run", cluster(3, {2: 12.5e6}, {2: 12.5e6}))
    page = build([open_run(run_folder)], tmp_path / "out", anonymise=True).read_text()
    visible = re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
    assert "stands out: it sends at 25 %" in visible


def test_pairs_are_compared_with_those_of_their_own_memory_and_path(tmp_path: Path) -> None:
    """The slowest pair of fast memory is no pair of slow memory."""
    fast, slow = cluster(3, {2: 40e6}), dict.fromkeys(cluster(3), 2000000.0)
    parts = [
        measured_rows(fast),
        measured_rows(slow, memory=("device",)),
        measured_rows(dict.fromkeys(fast, 1000000.0), memory=("device",), path=("staged",)),
        measured_rows(dict.fromkeys(fast, 3000000.0), bytes=(2**10,)),
    ]
    cases, rows = ([one for part in parts for one in part[place]] for place in (0, 1))
    found = {
        line.what: round(line.value)
        for line in headlines(load(open_run(write_rows(tmp_path / "run", cases, rows))))
    }
    ways = "Bandwidth one way, {} of 6 pairs ({})"
    assert found == {
        ways.format(end, setting): rate
        for setting, least, most in (
            ("host direct", 40_000_000, 50_000_000),
            ("device direct", 2_000_000, 2_000_000),
            ("device staged", 1_000_000, 1_000_000),
        )
        for end, rate in (("slowest", least), ("fastest", most))
    }


@pytest.mark.parametrize("name", ["pairs_bandwidth", "pairs_bibandwidth"])
def test_pairs_that_differ_in_nothing_else_need_no_more_words(tmp_path: Path, name: str) -> None:
    run = open_run(write_rows(tmp_path / "run", *measured_rows(cluster(3), name)))
    way, pairs = ("one way", 6) if name == "pairs_bandwidth" else ("both ways", 3)
    assert [line.what for line in headlines(load(run))] == [
        f"Bandwidth {way}, {which} of {pairs} pairs" for which in ("slowest", "fastest")
    ]


def test_runs_side_by_side_have_a_map_each(tmp_path: Path) -> None:
    one = write_pairs(tmp_path / "one", cluster(3))
    two = write_pairs(tmp_path / "two", cluster(4, {1: 12.5e6}))
    page = build([open_run(one), open_run(two)], tmp_path / "out").read_text()
    assert "No host stands out" in page
    assert "h1 stands out" in page


def test_a_pair_that_was_not_measured_is_no_zero(tmp_path: Path) -> None:
    run_folder = write_pairs(tmp_path / "run", cluster(3))
    results = run_folder / RESULTS_FILE
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:-1]))
    page = build([open_run(run_folder)], tmp_path / "out").read_text()
    assert "No host stands out" in page
    assert "rank 2 to rank 1" in page


def test_a_run_without_pairs_has_no_section_of_hosts(tmp_path: Path) -> None:
    from synthetic import write_run

    page = build([write_run(tmp_path / "run", benchmarks=["latency"])], tmp_path / "out")
    assert 'id="hosts"' not in page.read_text()


@pytest.mark.slow
def test_a_hundred_hosts_can_be_drawn(tmp_path: Path) -> None:
    run_folder = write_pairs(tmp_path / "run", cluster(100, {7: 20e6}))
    assert build([open_run(run_folder)], tmp_path / "out").is_file()
