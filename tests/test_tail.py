"""The end of a CSV file: torn anywhere it is whole rows, and a stray quote is named in one pass."""

import contextlib
import mmap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.store.tables import csv_text
from bench.store.tail import whole_end

HEADER = ("case", "launch", "reason", *"defghijkl")
TEXTS = st.text(alphabet='a,"\n\r', max_size=8)


def table(*rows: tuple[object, ...]) -> bytes:
    return csv_text([HEADER, *((*row, *[None] * (len(HEADER) - 3)) for row in rows)]).encode()


@given(st.lists(st.tuples(TEXTS, st.integers(0, 9), TEXTS), max_size=4), st.data())
def test_a_file_cut_anywhere_is_the_rows_before_the_cut(rows, data):
    content = table(*rows)
    ends = [len(table(*rows[:count])) for count in range(len(rows) + 1)]
    cut = data.draw(st.integers(0, len(content)))
    assert whole_end(content[:cut]) == max([0, *(end for end in ends if end <= cut)])


@pytest.mark.parametrize("torn", [b"", b"\0", b"\0" * 4096, b"c,2,\0\0\0\nc,3,x\n", b'c,2,"\0\n'])
def test_what_follows_a_zero_byte_is_no_row(torn):
    content = table(("a", 0, "x"), ("b", 1, "y,z"))
    assert whole_end(content + torn) == len(content)


def test_a_file_that_is_mapped_ends_where_its_bytes_end(tmp_path):
    content = table(*(("a,b", number, "x\ny") for number in range(100)))[:-3]
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert whole_end(mapped) == whole_end(content) == content.rfind(b'"a,b"')


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ((b"4,c", b'"4,c'), 7),  # opens where a field begins
        ((b"4,c", b'4,c"'), 7),  # in the middle of one
        ((b'"x\ny"', b'"x\ny'), 5),  # the end of a field is lost
        ((b'"x\ny"', b'x\ny"'), 6),
    ],
)
def test_a_stray_quote_before_whole_rows_is_named_with_its_line(damage, line):
    content = table(("a", 1, "x"), ("a", 2, "x"), ("a", 3, "x"), ("a", 4, "x\ny"))
    content += b"a,4,c,,,,,,,,,\n" + b"".join(b"a,%d,x,,,,,,,,,\n" % n for n in range(5, 9))
    content += b'a,9,"two\nlines",,,,,,,,,\n'
    spoilt = content.replace(*damage, 1)
    assert spoilt != content
    with pytest.raises(RequestError, match=rf"^line {line} "):
        whole_end(spoilt)


def test_a_torn_text_of_many_lines_is_torn_and_not_damaged():
    content = table(("a", 1, "x"))
    assert whole_end(content + b'a,2,"it said:\nno, not so\nand ""then""\n') == len(content)


@pytest.mark.parametrize("stray", [b'a"', b'"', b'"a"'])
@pytest.mark.parametrize("mapped", [False, True])
def test_time_grows_as_the_size_whatever_the_quotes(stray, mapped, tmp_path):
    path = tmp_path / "file.csv"

    def seconds(rows: int) -> float:
        path.write_bytes(b"case,launch,reason\n" + stray + b",1,x\n" + b'"a,b",1,x\n' * rows)
        with path.open("rb") as file:
            content = (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else file.read()
            )
        return min(timed(content) for _ in range(3))

    def timed(content: bytes | mmap.mmap) -> float:
        start = time.perf_counter()
        with contextlib.suppress(RequestError):
            whole_end(content)
        return time.perf_counter() - start

    # Four times the size; a count of the quotes for every newline took sixteen times as long.
    assert seconds(200_000) < 8 * seconds(50_000) + 0.01
