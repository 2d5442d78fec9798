"""Small files of sysfs: what they say, and that garbage says nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import sysfs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7\n", 7),
        ("0\n", 0),
        ("-1\n", None),
        ("Unknown\n", None),
        ("", None),
        ("7 GT/s", None),
        ("٣", None),  # a digit of another script
        ("9" * 5000, None),
    ],
)
def test_a_number_is_natural_or_unknown(tmp_path: Path, text: str, value: int | None) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    assert sysfs.read_natural(file) == value


@pytest.mark.parametrize(
    ("text", "size"),
    [("32K\n", 32 * 1024), ("1M", 2**20), ("512", 512), ("K", None), ("-32K", None), ("32k", None)],
)
def test_cache_sizes_are_binary(tmp_path: Path, text: str, size: int | None) -> None:
    file = tmp_path / "size"
    file.write_text(text)
    assert sysfs.read_size(file) == size


@pytest.mark.parametrize("word", ["unknown\n", "\n", "a\x1b[31mb\n", "x" * 300])
def test_what_is_no_word_is_unknown(tmp_path: Path, word: str) -> None:
    file = tmp_path / "word"
    file.write_text(word)
    assert sysfs.read_word(file) is None


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "folder", "dangling", "loop", "bytes"):
        path = tmp_path / name
        assert sysfs.read_word(path) is None
        assert sysfs.read_natural(path) is None
        assert sysfs.read_cpu_list(path) is None
        assert sysfs.read_kib_lines(path) == {}
    assert sysfs.list_folder(tmp_path / "absent") == []


def test_folders_are_listed_by_number_not_by_letter(tmp_path: Path) -> None:
    for name in ("node10", "node2", "node", "nodex", "has_node"):
        (tmp_path / name).mkdir()
    assert [number for number, _ in sysfs.list_numbered(tmp_path, "node")] == [2, 10]


@given(st.sets(st.integers(0, 8191), max_size=300))
def test_cpu_lists_survive_the_round_trip(cpus: set[int]) -> None:
    assert sysfs.parse_cpu_list(sysfs.cpu_list_text(cpus)) == tuple(sorted(cpus))


@pytest.mark.parametrize("text", ["hello", "3-1", "0-99999999999", "0-65536", "1,,2", "-1", "1-"])
def test_a_list_that_is_none_is_unknown(text: str) -> None:
    assert sysfs.parse_cpu_list(text) is None


@given(st.text(max_size=40))
def test_no_text_breaks_the_list(text: str) -> None:
    cpus = sysfs.parse_cpu_list(text)
    assert cpus is None or len(cpus) <= 65536
