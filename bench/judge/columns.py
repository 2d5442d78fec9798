"""Files of records read by columns, with pandas' C reader: typed, and small in memory.

Numbers are float64 with NaN where nothing is, int64 where the record always has one; texts are
objects, equal ones shared, None where nothing is. A column of one value takes the memory of one.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args, get_origin

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import RequestError, printable
from bench.core.records import SCHEMA
from bench.store.tables import read_csv

Values = NDArray[Any]
Columns = dict[str, Values]
"""By name, all of one length."""

_CHUNK_ROWS = 1 << 16
_EXACT_SINCE = (3, 1)
"""Version of pandas that reads all digits of a number unless told otherwise, and warns if told."""
_MOST_EXACT = 2.0**53
"""Beyond, float64 holds not every whole number."""


class _Misfit(ValueError):  # noqa: N818 - says only that the strict reader is to be asked
    """A column does not hold what the record may hold."""


class _Field(NamedTuple):
    """How a column is read."""

    name: str
    is_number: bool
    is_whole: bool
    required: bool
    default: int | str | None
    choices: frozenset[str]
    """All that a text may be; empty where it may be anything."""


def read_columns(file: BinaryIO, path: Path, kind: type[msgspec.Struct]) -> Columns:
    """Return the columns of a CSV file of records; columns that the record has not are left out.

    Args:
        file: its whole rows, nothing where there is none; it is closed.
        path: that they are from, for errors.
        kind: of record.

    Raises:
        RequestError: where a row does not fit the record, with its number, or the schema is newer.
    """
    fields = [_field(field) for field in msgspec.structs.fields(kind)]
    try:
        with file:
            return _parse(file, fields)
    except ValueError as error:
        # What is wrong with which row is for the strict reader to say.
        read_csv(path, kind)
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}; "
            "the file was changed or damaged"
        ) from error


def empty_columns(kind: type[msgspec.Struct]) -> Columns:
    """Return the columns of no records, of the types that records have."""
    return _parse(io.BytesIO(), [_field(field) for field in msgspec.structs.fields(kind)])


def text_column(texts: Iterable[str | None]) -> Values:
    """Return texts as a column."""
    # With None at the end for a moment: without it, numpy would make texts of its own kind.
    return np.array([*texts, None], dtype=object)[:-1]


def pick_texts(texts: Iterable[str | None], codes: NDArray[np.int64]) -> Values:
    """Return the text at each of these places, None where that is -1."""
    return np.array([*texts, None], dtype=object)[codes]


def spread(value: object, count: int) -> Values:
    """Return a column of one value, of the type of a column; it cannot be written to."""
    if isinstance(value, float):
        return np.broadcast_to(np.float64(value), count)
    if isinstance(value, int):
        return np.broadcast_to(np.int64(value), count)
    return np.broadcast_to(np.array(value, dtype=object), count)


def join(pieces: Sequence[Values]) -> Values:
    """Return columns one below the other; of one value where all have the same one."""
    filled = [piece for piece in pieces if len(piece)]
    if not filled:
        return pieces[0]
    if all(map(_is_spread, filled)) and all(_same(piece[0], filled[0][0]) for piece in filled[1:]):
        return np.broadcast_to(filled[0][:1].reshape(()), sum(map(len, filled)))
    return np.concatenate(filled)


def take(column: Values, places: NDArray[np.int64]) -> Values:
    """Return the values at these places."""
    if _is_spread(column) and len(column):
        return np.broadcast_to(column[:1].reshape(()), len(places))
    return column[places]


def combine(codes: NDArray[np.int64], *columns: Values) -> NDArray[np.int64]:
    """Return a number for each line, equal where all of these columns are, from 0 as they appear.

    Args:
        codes: from 0.
        columns: more of the same length; what is missing is equal.
    """
    for column in columns:
        # Each is smaller than the number of lines, so no product of two overflows.
        own, found = pd.factorize(column, use_na_sentinel=False)
        codes = pd.factorize(codes * max(1, len(found)) + own)[0]
    return codes


def _is_spread(column: Values) -> bool:
    return column.strides == (0,) or len(column) == 1


def _same(one: object, other: object) -> bool:
    return one is other or bool(one == other) or (one != one and other != other)


def _field(field: msgspec.structs.FieldInfo) -> _Field:
    kinds = get_args(field.type) if get_origin(field.type) is not Literal else ()
    kinds = kinds or (field.type,)
    choices = [value for kind in kinds for value in _choices(kind)]
    required = type(None) not in kinds
    default = field.default if isinstance(field.default, int | str) else None
    return _Field(
        name=field.name,
        is_number=int in kinds or float in kinds,
        is_whole=int in kinds,
        required=required,
        default=default,
        choices=frozenset(choices),
    )


def _choices(kind: Any) -> Iterable[str]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return [one.value for one in kind] if issubclass(kind, Enum) else ()


def _parse(file: BinaryIO, fields: Sequence[_Field]) -> Columns:
    pieces: dict[str, list[Values]] = {field.name: [] for field in fields}
    shared: dict[str, str] = {}
    for chunk in _read_chunks(file, fields):
        for field in fields:
            pieces[field.name].append(_column(chunk, field, shared))
    # Popped one by one: the pieces of a column are let go before the next one is joined.
    return {field.name: join(pieces.pop(field.name)) for field in fields}


def _read_chunks(file: BinaryIO, fields: Sequence[_Field]) -> Iterator[pd.DataFrame]:
    types = {field.name: "float64" if field.is_number else "object" for field in fields}
    header = file.readline()
    if not header:
        yield pd.DataFrame()
        return
    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    exact: Any = {} if version >= _EXACT_SINCE else {"float_precision": "round_trip"}
    yield from pd.read_csv(
        file,
        names=next(csv.reader([header.decode()])),
        chunksize=_CHUNK_ROWS,
        usecols=types.__contains__,
        dtype=types,
        index_col=False,
        # Empty is missing, and nothing else is: "NA" and "null" are texts.
        na_values={field.name: _missing_words(field) for field in fields},
        keep_default_na=False,
        skip_blank_lines=False,
        **exact,
    )


def _missing_words(field: _Field) -> list[str]:
    return ["", "nan", "NaN"] if field.is_number and not field.is_whole else [""]


def _column(chunk: pd.DataFrame, field: _Field, shared: dict[str, str]) -> Values:
    if field.name not in chunk:
        if field.required and field.default is None and len(chunk):
            raise _Misfit(f"no column {field.name}")
        return spread(_absent(field), len(chunk))
    values = chunk[field.name].to_numpy()
    return _numbers(values, field) if field.is_number else _texts(values, field, shared)


def _absent(field: _Field) -> object:
    """Return what stands where a file has no such column; no row is without a required one."""
    if field.default is not None:
        return field.default
    if not field.is_number:
        return None
    return 0 if field.required and field.is_whole else float("nan")


def _numbers(values: Values, field: _Field) -> Values:
    missing = np.isnan(values)
    if field.required and missing.any():
        if field.default is None:
            raise _Misfit(f"{field.name} is missing")
        values = np.where(missing, float(field.default), values)
    if field.is_whole:
        known = values[~np.isnan(values)]
        if (known != np.floor(known)).any():
            raise _Misfit(f"{field.name} is no whole number")
        if field.required and (np.abs(known) > _MOST_EXACT).any():
            raise _Misfit(f"{field.name} is too large")
        if field.name == "schema" and (known > SCHEMA).any():
            raise _Misfit("the schema is newer")
        if field.required:
            values = values.astype(np.int64)
    if len(values) and (missing.all() or (values == values[0]).all()):
        return spread(values[0].item(), len(values))
    # Its own memory: a view would keep all numbers of the chunk.
    return values.copy()


def _texts(values: Values, field: _Field, shared: dict[str, str]) -> Values:
    codes, found = pd.factorize(values)
    if field.required and (codes < 0).any():
        raise _Misfit(f"{field.name} is missing")
    if field.choices and not field.choices.issuperset(found):
        raise _Misfit(f"{field.name} is none of {', '.join(sorted(field.choices))}")
    # A text that is in every row is kept once; one that is in few would only fill the table.
    texts = [shared.setdefault(t, t) for t in found] if 2 * len(found) <= len(values) else found
    if len(values) and (len(found) == 0 or (len(found) == 1 and (codes == 0).all())):
        return spread(texts[0] if len(found) else None, len(values))
    return pick_texts(texts, codes)
