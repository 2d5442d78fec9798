"""Reading by columns gives what reading by records gives, and refuses what it refuses."""

import io
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_results import row

from bench.core.errors import RequestError
from bench.core.records import Evidence, Prediction, Row, Sample, Status
from bench.judge.columns import join, read_columns, spread, take
from bench.store.files import RESULTS_FILE
from bench.store.tables import csv_header, csv_lines, csv_text
from bench.store.whole_rows import open_whole_rows

TEXTS = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9
) | st.sampled_from(["NA", "null", "nan", '"', ",", "\n", "\r\n", " x "])  # fmt: skip
ROWS = st.lists(
    st.builds(
        row,
        reason=TEXTS,
        params=TEXTS,
        order=st.integers(0, 9),
        bytes=st.none() | st.integers(0, 2**53),
        t_median_s=st.none() | st.floats(allow_nan=False),
        status=st.sampled_from(Status),
    ),
    max_size=5,
)


def content_of(rows: list[Row]) -> bytes:
    return (csv_text([csv_header(Row)]) + csv_lines(rows)).encode()


def columns_of(content: bytes, folder: Path) -> dict[str, list[object]]:
    path = folder / RESULTS_FILE
    path.write_bytes(content)
    found = read_columns(open_whole_rows(path), path, Row)
    # NaN, which is unlike itself, is a number that is missing.
    return {n: [None if v != v else v for v in column.tolist()] for n, column in found.items()}


@given(ROWS)
def test_columns_hold_what_records_hold(rows):
    with tempfile.TemporaryDirectory() as folder:
        found = columns_of(content_of(rows), Path(folder))
    for name, values in found.items():
        assert values == [getattr(one, name) for one in rows]
        assert {type(value) for value in values} <= {type(None), str, int, float}


@pytest.mark.parametrize("kind", [Row, Prediction, Evidence, Sample])
def test_no_file_and_a_file_of_a_header_have_typed_columns(kind, tmp_path):
    absent = read_columns(open_whole_rows(tmp_path / "absent"), tmp_path, kind)
    header = csv_text([csv_header(kind)]).encode()
    empty = read_columns(io.BytesIO(header), tmp_path, kind)
    assert {name: column.dtype for name, column in absent.items()} == {
        name: column.dtype for name, column in empty.items()
    }
    assert [len(column) for column in empty.values()] == [0] * len(csv_header(kind))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ((",ok,", ",fine,"), "row 3.*status"),
        ((",measured,", ",guessed,"), "row 3.*origin"),
        ((",latency,", ",,"), "row 3.*benchmark"),
        (("0.5", "half"), "row 3.*t_median_s"),
        (("1048576", "2.5"), "row 3.*bytes"),
        (("\n2,", "\n99,"), "schema 99"),
        (("\n2,", "\n\n2,"), "row 3"),
    ],
)
def test_a_damaged_row_is_refused_with_its_number(damage, why, tmp_path):
    good = content_of([row(), row(t_median_s=0.5, bytes=1048576)]).decode()
    head, first, second = good.splitlines(keepends=True)
    spoilt = (head + first + f"\n{second}".replace(*damage, 1)[1:]).encode()
    assert len(columns_of(good.encode(), tmp_path)["case"]) == 2
    with pytest.raises(RequestError, match=why):
        columns_of(spoilt, tmp_path)


@pytest.mark.parametrize("torn", [b"1,r,measured", b"\0" * 99, b'1,"r'])
def test_what_a_crash_leaves_is_no_row(torn, tmp_path):
    content = content_of([row(), row(launch=1)])
    assert columns_of(content + torn, tmp_path)["launch"] == [0, 1]


def test_columns_that_are_not_known_are_left_out_and_absent_ones_are_missing(tmp_path):
    lines = content_of([row(nodes=2)]).decode().splitlines()
    newer = "".join(f"{line},{more}\n" for line, more in zip(lines, ("later", "x"), strict=True))
    assert columns_of(newer.encode(), tmp_path) == columns_of(content_of([row(nodes=2)]), tmp_path)
    older = "\n".join(line.rpartition(",")[0] for line in lines) + "\n"
    assert columns_of(older.encode(), tmp_path)["started_utc"] == [None]


def test_a_column_of_one_value_takes_the_memory_of_one():
    one = spread("x", 1_000_000)
    below = join([one, spread("x", 5), spread("y", 0)])
    assert below.strides == (0,)
    assert len(take(below, below.argsort()[:7])) == 7
    assert join([one[:2], spread("y", 1)]).tolist() == ["x", "x", "y"]
    assert join([spread(math.nan, 2), spread(math.nan, 1)]).strides == (0,)


def test_equal_texts_are_one_text():
    rows = [row(launch=i, reason="of some length") for i in range(9)]
    column = read_columns(io.BytesIO(content_of(rows)), Path("x"), Row)["reason"]
    assert len({id(text) for text in column}) == 1
