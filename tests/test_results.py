"""The files of a run: fixed headers, text of any kind kept, and every crash readable."""

import csv
import hashlib
import tempfile
from pathlib import Path

import msgspec
import pytest
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
from bench.store.folder import (
    EVIDENCE_FILE,
    JOURNAL_FILE,
    LOGS_FOLDER,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    RUN_FILE,
    SAMPLES_FILE,
    Appender,
    RunMeta,
    csv_header,
    csv_lines,
    file_hashes,
    open_run,
    read_csv,
    read_meta,
    write_meta,
)
from bench.store.recorder import Recorder, create_folder

RESULTS_HEADER = (
    "schema, run, origin, job, attempt, launch, order, case, benchmark, status, reason, nodes, "
    "ranks, ranks_per_node, src, dst, binding, bytes, bytes_per_rank, bytes_total, batch, m, n, k, "
    "dtype, src_memory, dst_memory, path, direction, algorithm, window, pairs, params, statistic, "
    "t_median_s, t_ci_low_s, t_ci_high_s, t_min_s, t_p95_s, t_p99_s, t_max_s, t_mean_s, samples, "
    "loops, warmups, outliers, converged, rank_agg, slowest_rank, gbytes_per_s, "
    "busbw_gbytes_per_s, tflops, messages_per_s, bytes_checked, bytes_wrong, bound_s, "
    "bound_source, fraction_of_bound, timing_layer, thread_level, started_utc"
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
    "\x00\x1b[31m",
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


def meta(*jobs: Job) -> RunMeta:
    return RunMeta(
        run="r",
        origin=Origin.MEASURED,
        version="0",
        suite_name="mine",
        suite_text="",
        flags={},
        seed=0,
        launches=1,
        launcher="local",
        plan=jobs,
        mpi={},
        started_utc="2026-11-20T09:00:00.000000Z",
    )


def job(*cases: str, launch: int = 0) -> Job:
    made = tuple(Case(case, "latency", {"bytes": 8}) for case in cases)
    return Job(f"j{launch}", Stage.TARGET, launch, 2, 1, made)


def first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0]


def test_the_headers_are_what_outside_tools_read(tmp_path):
    Recorder(tmp_path / "r", meta_in(tmp_path / "r")).finish("complete")
    folder = tmp_path / "r"
    assert first_line(folder / RESULTS_FILE) == RESULTS_HEADER.replace(", ", ",")
    assert first_line(folder / PREDICTIONS_FILE) == PREDICTIONS_HEADER.replace(", ", ",")
    assert first_line(folder / SAMPLES_FILE) == "case,launch,sample,rank,seconds"
    assert first_line(folder / EVIDENCE_FILE) == "case,launch,path_observed,level,reason,ratio"
    assert ", ".join(COLUMNS) == RESULTS_HEADER


def meta_in(folder: Path) -> RunMeta:
    (folder / LOGS_FOLDER).mkdir(parents=True)
    return meta()


def test_a_missing_value_is_an_empty_field_and_never_0_or_nan(tmp_path):
    path = tmp_path / RESULTS_FILE
    Appender(path, COLUMNS).write(csv_lines([row(status=Status.SKIPPED, reason="no GPU")]))
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
    Appender(path, COLUMNS).write(csv_lines(written))
    # A zero byte is what a crash leaves of a write: as text it is escaped.
    text = text.replace("\0", "\\x00")
    assert read_csv(path, Row) == [
        row(order=1, reason=text), row(order=2, params=text, src=text), row(order=3)
    ]  # fmt: skip


# Surrogates are no text: they have no UTF-8.
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
        Appender(path, COLUMNS).write(csv_lines(written))
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
        Appender(path, csv_header(Sample)).write(csv_lines(written))
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
    Appender(path, csv_header(Prediction)).write(csv_lines(written))
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
    Appender(path, COLUMNS).write(csv_lines(written))
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
        lambda text: text.replace(",0,0,0,", ",0,x,0,"),
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


@pytest.mark.parametrize("schema", ["2", "10", "9" * 5000])
def test_a_newer_schema_is_refused_with_the_way_out(schema, tmp_path):
    path = tmp_path / RESULTS_FILE
    text = csv_lines([row()]).replace("1,r,", f"{schema},r,", 1)
    path.write_text(f"{','.join(COLUMNS)}\n{text}", encoding="utf-8")
    with pytest.raises(RequestError, match="upgrade clusterbench") as refused:
        read_csv(path, Row)
    assert refused.value.exit_code == 2


def test_a_newer_run_is_refused_with_the_way_out(tmp_path):
    newer = meta()
    newer.schema = 2
    write_meta(tmp_path, newer)
    with pytest.raises(RequestError, match=r"schema 2.*upgrade clusterbench") as refused:
        open_run(tmp_path)
    assert refused.value.exit_code == 2


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


def test_what_was_asked_for_comes_back_from_run_json(tmp_path):
    written = meta(job("a", "b"), job("a", launch=1))
    written.findings.append(Finding(name="busy-cores", level="warning", text="<b>\n"))
    written.flags = {"label": 'µ"', "ranks": 2, "json": True, "seed": None}
    write_meta(tmp_path, written)
    assert read_meta(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_what_was_planned_and_has_no_row_is_missing_and_not_forgotten(tmp_path):
    write_meta(tmp_path, meta(job("a", "b"), job("a", "b", launch=1)))
    run = open_run(tmp_path)
    assert [(j.launch, case) for j, case in run.missing()] == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]
    ended = [row(case="b"), row(case="a", launch=1, status=Status.FAILED, reason="x")]
    Appender(tmp_path / RESULTS_FILE, COLUMNS).write(csv_lines(ended))
    assert [(j.launch, case) for j, case in run.missing()] == [(0, "a"), (1, "b")]


def test_a_row_is_there_only_when_its_samples_are(tmp_path):
    (tmp_path / LOGS_FOLDER).mkdir()
    recorder = Recorder(tmp_path, meta(job("a")))
    sample = Sample(case="a", launch=0, sample=0, rank=0, seconds=1e-6)
    recorder.row(row(case="a"), [sample])
    run = open_run(tmp_path)
    assert run.rows() == [row(case="a")]
    assert run.samples() == [sample]
    assert run.meta.outcome is None
    recorder.finish("complete")
    assert open_run(tmp_path).meta.outcome == "complete"


def test_a_finished_run_holds_the_hash_of_every_other_file(tmp_path):
    (tmp_path / LOGS_FOLDER).mkdir()
    recorder = Recorder(tmp_path, meta(job("a")))
    recorder.note("start", "j0", 0, tokens=["a"])
    recorder.log_file("../j0", 0).write_text("log", encoding="utf-8")
    recorder.finish("complete")
    files = open_run(tmp_path).meta.files
    assert set(files) == {
        RESULTS_FILE,
        SAMPLES_FILE,
        PREDICTIONS_FILE,
        EVIDENCE_FILE,
        JOURNAL_FILE,
        f"{LOGS_FOLDER}/.._j0-0.log",
    }
    for name, digest in files.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert file_hashes(tmp_path) == files


def test_a_finding_is_kept_once(tmp_path):
    (tmp_path / LOGS_FOLDER).mkdir()
    recorder = Recorder(tmp_path, meta())
    for _ in range(3):
        recorder.finding(Finding(name="busy-cores", level="warning", text="one"))
    recorder.finish("complete")
    assert len(open_run(tmp_path).meta.findings) == 1


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
    with pytest.raises(RequestError, match="choose another folder with -o") as refused:
        create_folder(tmp_path / "file", "mine")
    assert refused.value.exit_code == 2


def test_an_appender_writes_the_header_of_a_new_file_only(tmp_path):
    path = tmp_path / RESULTS_FILE
    for order in range(3):
        appender = Appender(path, COLUMNS)
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
