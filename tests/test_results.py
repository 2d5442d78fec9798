"""The files of a run: fixed headers, text of any kind kept, and every crash readable."""

import csv
import hashlib
import tempfile
from pathlib import Path

import msgspec
import pytest
from begun import begun
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.core.records import (
    COLUMNS,
    Case,
    Finding,
    Job,
    Origin,
    Prediction,
    Row,
    Sample,
    Stage,
    Status,
    params_text,
    parse_params,
)
from bench.store.begin import create_folder
from bench.store.files import (
    COMMANDS_FILE,
    EVENTS_FILE,
    EVIDENCE_FILE,
    FINDINGS_FILE,
    JOURNAL_FILE,
    LOGS_FOLDER,
    NODES_FILE,
    NODES_FOLDER,
    PLAN_FILE,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    SUITE_FILE,
    Appender,
)
from bench.store.folder import open_run
from bench.store.hashes import file_hashes
from bench.store.meta import Imported, write_meta
from bench.store.nodes import Nodes
from bench.store.parts import Command
from bench.store.recorder import Recorder
from bench.store.tables import csv_lines, header_line, read_csv

RESULTS_HEADER = (
    "schema, run, origin, job, attempt, launch, arm, order, case, benchmark, status, reason, "
    "nodes, ranks, ranks_per_node, src, dst, src_host, dst_host, binding, bytes, bytes_per_rank, "
    "bytes_total, batch, m, n, k, dtype, src_memory, dst_memory, path, direction, algorithm, "
    "window, pairs, params, statistic, t_median_s, t_ci_low_s, t_ci_high_s, t_min_s, t_p95_s, "
    "t_p99_s, t_max_s, t_mean_s, samples, loops, warmups, outliers, converged, rank_agg, "
    "slowest_rank, gbytes_per_s, busbw_gbytes_per_s, tflops, messages_per_s, bytes_checked, "
    "bytes_wrong, bound_s, bound_source, fraction_of_bound, timing_layer, thread_level, "
    "started_utc"
)
PREDICTIONS_HEADER = (
    "case, launch, tier, formula, seconds, low_s, high_s, parameters_hash, calibration_cases, "
    "frozen_at"
)
HOSTILE = [
    "commas, \"quotes\" and 'more'",
    "line\nbreaks\r\nof\rall kinds\n",
    '"',
    '"\n"',
    "=1+1",
    "null",
    "true",
    "\x01\x1b[31m",
    "µs ✓ \U0001f9ea",
    "<script>",
    " spaces ",
    "a" * 200_000,
]


def row(**more: object) -> Row:
    """Return a row with what every row has."""
    return Row(
        **{
            "run": "r",
            "origin": Origin.MEASURED,
            "job": "000-target-0-2r1t",
            "attempt": 0,
            "launch": 0,
            "order": 0,
            "case": "latency/bytes=8",
            "benchmark": "latency",
            "status": Status.OK,
            **more,
        }
    )


def job(*cases: str, launch: int = 0) -> Job:
    made = tuple(Case(case, "latency", {"bytes": 8}) for case in cases)
    return Job(f"j{launch}", Stage.TARGET, launch, 2, 1, made)


def first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0]


def test_the_headers_are_what_outside_tools_read(tmp_path):
    folder = tmp_path / "r"
    Recorder(begun(folder)).finish()
    assert first_line(folder / RESULTS_FILE) == RESULTS_HEADER.replace(", ", ",")
    assert first_line(folder / PREDICTIONS_FILE) == PREDICTIONS_HEADER.replace(", ", ",")
    assert first_line(folder / SAMPLES_FILE) == "case,launch,sample,rank,seconds"
    assert first_line(folder / EVIDENCE_FILE) == "case,launch,path_observed,level,reason,ratio"
    assert ", ".join(COLUMNS) == RESULTS_HEADER


def test_a_missing_value_is_an_empty_field_and_never_0_or_nan(tmp_path):
    path = tmp_path / RESULTS_FILE
    Appender(path, header_line(Row)).write(csv_lines([row(status=Status.SKIPPED, reason="no GPU")]))
    with path.open(encoding="utf-8", newline="") as file:
        line = next(csv.DictReader(file))
    given_values = {name for name, value in line.items() if value}
    assert given_values == {
        *("schema", "run", "origin", "job", "attempt", "launch", "order", "case", "benchmark"),
        *("status", "reason"),
    }
    assert read_csv(path, Row)[0].t_median_s is None


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_any_kind_comes_back_as_it_was_written(text, tmp_path):
    path = tmp_path / RESULTS_FILE
    written = [row(order=1, reason=text), row(order=2, params=text, src=text), row(order=3)]
    Appender(path, header_line(Row)).write(csv_lines(written))
    assert read_csv(path, Row) == written


# Surrogates are no text: they have no UTF-8.
def test_a_zero_byte_in_a_text_is_written_out_since_it_ends_a_file(tmp_path):
    path = tmp_path / RESULTS_FILE
    Appender(path, header_line(Row)).write(csv_lines([row(reason="a\0b"), row(order=2)]))
    assert [read.reason for read in read_csv(path, Row)] == ["a\\x00b", None]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
floats = st.floats(allow_nan=False)
rows = st.builds(
    row,
    reason=st.none() | texts,
    params=st.none() | texts,
    launch=st.integers(0, 10_000),
    bytes=st.none() | st.integers(0, 2**62),
    t_median_s=st.none() | floats,
    status=st.sampled_from(Status),
    origin=st.sampled_from(Origin),
)


@given(st.lists(rows, max_size=4))
def test_rows_come_back_with_all_their_digits(written):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS_FILE
        Appender(path, header_line(Row)).write(csv_lines(written))
        assert read_csv(path, Row) == written


@given(
    st.lists(
        st.builds(
            Sample,
            case=texts,
            launch=st.integers(0, 9),
            sample=st.integers(0, 400),
            rank=st.integers(0, 9),
            seconds=floats,
        ),
        max_size=5,
    )
)
def test_samples_come_back_with_all_their_digits(written):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SAMPLES_FILE
        Appender(path, header_line(Sample)).write(csv_lines(written))
        assert read_csv(path, Sample) == written


def test_predictions_come_back_with_and_without_an_answer(tmp_path):
    written = [
        Prediction(case="a", launch=0, tier="C", formula="none: too few", frozen_at="t"),
        Prediction(
            case="b",
            launch=1,
            tier="C",
            formula='t = 1 µs + m / (12 GB/s), "half"',
            seconds=0.1 + 0.2,
            low_s=5e-324,
            high_s=1e300,
            parameters_hash="00ff",
            calibration_cases="a b",
            frozen_at="t",
        ),
    ]
    path = tmp_path / PREDICTIONS_FILE
    Appender(path, header_line(Prediction)).write(csv_lines(written))
    assert read_csv(path, Prediction) == written


def test_a_file_cut_at_any_byte_reads_as_its_first_rows(tmp_path):
    path = tmp_path / RESULTS_FILE
    written = [
        row(order=0),
        row(order=1, reason='he said:\n"no\n\nmore", twice\n'),
        row(order=2, reason="µs ✓ \U0001f9ea"),
        row(order=3, reason='"\n"\n""\n'),
        row(order=4, reason="\r\n\r"),
    ]
    Appender(path, header_line(Row)).write(csv_lines(written))
    content = path.read_bytes()
    seen = set()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        read = read_csv(path, Row)
        assert read == written[: len(read)]
        seen.add(len(read))
    assert seen == {0, 1, 2, 3, 4, 5}


def test_a_file_that_is_not_there_or_empty_has_no_rows(tmp_path):
    assert read_csv(tmp_path / RESULTS_FILE, Row) == []
    (tmp_path / RESULTS_FILE).touch()
    assert read_csv(tmp_path / RESULTS_FILE, Row) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(",ok,", ",fine,"),
        lambda text: text.replace("measured", "guessed"),
        lambda text: text + "1,r\n",
        lambda text: text + "\n",
        lambda text: text.replace("latency/bytes=8", ""),
        lambda text: text.replace(",0,0,,0,", ",0,x,,0,"),
    ],
)
def test_a_changed_file_is_refused_with_the_number_of_the_row(damage, tmp_path):
    path = tmp_path / RESULTS_FILE
    path.write_text(damage(f"{','.join(COLUMNS)}\n{csv_lines([row()])}"), encoding="utf-8")
    with pytest.raises(RequestError, match=r"results\.csv, row [23]: .*changed or damaged"):
        read_csv(path, Row)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / RESULTS_FILE
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(RequestError, match="cannot be read"):
        read_csv(path, Row)


@pytest.mark.parametrize("schema", ["3", "10", "9" * 5000])
def test_a_newer_schema_is_refused_with_the_way_out(schema, tmp_path):
    path = tmp_path / RESULTS_FILE
    text = csv_lines([row()]).replace("2,r,", f"{schema},r,", 1)
    path.write_text(f"{','.join(COLUMNS)}\n{text}", encoding="utf-8")
    with pytest.raises(RequestError, match="upgrade clusterbench"):
        read_csv(path, Row)


def test_a_newer_run_is_refused_with_the_way_out(tmp_path):
    newer = begun(tmp_path).meta
    newer.schema = 3
    write_meta(tmp_path, newer)
    with pytest.raises(RequestError, match=r"schema 3.*upgrade clusterbench"):
        open_run(tmp_path)


def test_columns_that_a_later_version_added_are_ignored(tmp_path):
    path = tmp_path / RESULTS_FILE
    header, line = f"{','.join(COLUMNS)}", csv_lines([row(reason="x")]).rstrip("\n")
    path.write_text(f"colour,{header},shape\nred,{line},round\n", encoding="utf-8")
    assert read_csv(path, Row) == [row(reason="x")]


def test_an_older_file_with_fewer_columns_is_read(tmp_path):
    path = tmp_path / SAMPLES_FILE
    header = [name for name in COLUMNS if name != "thread_level"]
    line = csv_lines([row()]).rstrip("\n").split(",")
    del line[COLUMNS.index("thread_level")]
    path.write_text(f"{','.join(header)}\n{','.join(line)}\n", encoding="utf-8")
    assert read_csv(path, Row) == [row()]


def test_all_that_a_run_holds_comes_back_from_its_files(tmp_path):
    flags = {"label": 'µ"', "ranks": 2, "json": True, "seed": None}
    finding = Finding(name="busy-cores", level="warning", text="<b>\n")
    nodes = Nodes(hosts={"a": "12ab", "b": "12ab"}, facts={"12ab": {"x": [1]}}, paths={"b": {}})
    command = Command("j0", 0, ("mpirun", "-n", "2"), {"A": "b c"})
    written = begun(
        tmp_path,
        [job("a", "b"), job("a", launch=1)],
        suite_text='[suite]\nname = "µ"\n',
        machine_text="# mine\n",
        flags=flags,
        nodes=nodes,
        commands=[command],
        findings=[finding],
    )
    read = open_run(tmp_path)
    assert read.meta == written.meta
    assert read.meta.measured.flags == flags
    assert [case.id for j in read.plan for case in j.cases] == ["a", "b", "a"]
    assert (read.nodes, read.commands, read.findings) == (nodes, [command], [finding])
    assert (read.suite_text, read.machine_text) == ('[suite]\nname = "µ"\n', "# mine\n")
    # A case is one object, however many launches hold it.
    assert read.plan[0].cases[0] is read.plan[1].cases[0]


def test_a_run_that_another_tool_measured_has_no_request(tmp_path):
    meta = begun(tmp_path, origin=Origin.IMPORTED).meta
    meta.made = Imported(tool="osu", tool_version="7.4", sources={"a.txt": "00"})
    write_meta(tmp_path, meta)
    read = open_run(tmp_path).meta
    assert read == meta
    with pytest.raises(RequestError, match="imported"):
        _ = read.measured


def test_what_was_planned_and_has_no_row_is_missing_and_not_forgotten(tmp_path):
    begun(tmp_path, [job("a", "b"), job("a", "b", launch=1)])
    run = open_run(tmp_path)
    assert [(j.launch, case) for j, case in run.missing()] == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]
    ended = [row(case="b"), row(case="a", launch=1, status=Status.FAILED, reason="x")]
    Appender(tmp_path / RESULTS_FILE, header_line(Row)).write(csv_lines(ended))
    assert [(j.launch, case) for j, case in run.missing()] == [(0, "a"), (1, "b")]


def test_a_row_is_there_only_when_its_samples_are(tmp_path):
    recorder = Recorder(begun(tmp_path, [job("a")]))
    sample = Sample(case="a", launch=0, sample=0, rank=0, seconds=1e-6)
    recorder.rows([row(case="a")], [sample])
    run = open_run(tmp_path)
    assert run.rows() == [row(case="a")]
    assert run.samples() == [sample]
    assert run.meta.outcome is None
    recorder.end("complete")
    recorder.finish()
    assert open_run(tmp_path).meta.outcome == "complete"


def test_a_finished_run_holds_the_hash_of_every_other_file(tmp_path):
    recorder = Recorder(begun(tmp_path, [job("a")]))
    recorder.command(Command("j0", 0, ("a",), {}))
    recorder.node_facts({"h": {"host": "h"}})
    recorder.log_file("../j0", 0).write_text("log", encoding="utf-8")
    recorder.end("complete")
    recorder.finish()
    files = open_run(tmp_path).meta.files
    (node,) = (tmp_path / NODES_FOLDER).iterdir()
    assert set(files) == {
        SUITE_FILE,
        PLAN_FILE,
        NODES_FILE,
        f"{NODES_FOLDER}/{node.name}",
        COMMANDS_FILE,
        FINDINGS_FILE,
        RESULTS_FILE,
        SAMPLES_FILE,
        PREDICTIONS_FILE,
        EVENTS_FILE,
        EVIDENCE_FILE,
        JOURNAL_FILE,
        f"{LOGS_FOLDER}/.._j0-0.log",
    }
    for name, digest in files.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert file_hashes(tmp_path) == files


def test_a_finding_is_kept_once(tmp_path):
    recorder = Recorder(begun(tmp_path))
    for _ in range(3):
        recorder.finding(Finding(name="busy-cores", level="warning", text="one"))
    recorder.end("complete")
    recorder.finish()
    assert len(open_run(tmp_path).findings) == 1


def test_latest_points_to_the_last_run_and_two_runs_never_share_a_folder(tmp_path):
    first, second = (create_folder(tmp_path / "deep" / "er", "mine") for _ in range(2))
    assert first != second
    assert (first.parent / "latest").resolve() == second
    assert first.name.split("-")[1] == "mine"


def test_a_folder_named_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    create_folder(tmp_path, "mine")
    assert not (tmp_path / "latest").is_symlink()


def test_a_parent_that_is_a_file_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="choose another folder with -o"):
        create_folder(tmp_path / "file", "mine")


def test_an_appender_writes_the_header_of_a_new_file_only(tmp_path):
    path = tmp_path / RESULTS_FILE
    for order in range(3):
        appender = Appender(path, header_line(Row))
        appender.write(csv_lines([row(order=order)]))
        appender.close()
    assert [read.order for read in read_csv(path, Row)] == [0, 1, 2]


@given(st.dictionaries(st.text("abc_", min_size=1), st.text("xyz0.-", min_size=1) | st.integers()))
def test_rare_axes_are_sorted_pairs_that_can_be_parsed(params):
    text = params_text(params)
    assert parse_params(text) == {name: str(value) for name, value in params.items()}
    assert (text is None) == (not params)
    if text:
        names = [pair.split("=")[0] for pair in text.split(";")]
        assert names == sorted(names)


@given(texts)
def test_no_params_column_of_a_stranger_stops_the_reader(text):
    assert all("=" not in name for name in parse_params(text))


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        row().status = Status.FAILED
    assert msgspec.structs.replace(row(), order=3).order == 3
