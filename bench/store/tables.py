"""CSV files of records: a header of field names, one line per record, empty where nothing is."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.records import SCHEMA
from bench.store.schema import refuse_newer
from bench.store.whole_rows import open_whole_rows

Record = TypeVar("Record", bound=msgspec.Struct)

# The words of a host or a library may be longer than the 128 KiB that Python reads at first.
csv.field_size_limit(2**31 - 1)


def csv_header(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the CSV header of a record type: its fields in order."""
    return kind.__struct_fields__


def header_line(kind: type[msgspec.Struct]) -> str:
    """Return the first line of a file of such records."""
    return csv_text([csv_header(kind)])


class _Lines:
    """Collects the lines of a CSV writer, and gives each the end of a line that files here have."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, line: str) -> None:
        self.parts.append(line[:-2])
        self.parts.append("\n")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV lines; None is empty, and a zero byte is written out."""
    lines = _Lines()
    # Before Python 3.13 a carriage return is quoted only where it is in the line terminator.
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    # A zero byte ends a file: it is what a loss of power leaves.
    return "".join(lines.parts).replace("\0", "\\x00")


def csv_lines(records: Iterable[msgspec.Struct]) -> str:
    """Return records as CSV lines, floats with all their digits."""
    return csv_text(msgspec.structs.astuple(record) for record in records)


def read_csv(path: Path, kind: type[Record]) -> list[Record]:
    """Read a CSV file of records; an absent file has none, an unfinished last line is dropped.

    Columns that a newer minor version added are ignored.

    Raises:
        RequestError: where a line does not fit the record, with its number.
    """
    with open_whole_rows(path) as file:
        return list(parse_csv(file.read(), path, kind))


def parse_csv(content: bytes, path: Path, kind: type[Record]) -> Iterator[Record]:
    """Yield the records of whole rows, of the file at `path`.

    Raises:
        RequestError: where a line does not fit the record, with its number.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, None)
    if header is None:
        return
    fields = set(csv_header(kind))
    names = [name if name in fields else None for name in header]
    for number, line in enumerate(lines, start=2):
        present = {
            name: value for name, value in zip(names, line, strict=False) if name and value != ""
        }
        _check_schema(present.get("schema"), path)
        try:
            # strict=False: every value of a CSV file is text, to be read as the field's type.
            yield msgspec.convert(present, kind, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(
                f"{printable(path, 400)}, row {number}: {printable(error, 200)}; "
                "the file was changed or damaged"
            ) from error


def _check_schema(schema: str | None, path: Path) -> None:
    if schema is not None and schema.isdecimal():
        refuse_newer(path, int(schema[:18]), SCHEMA)
