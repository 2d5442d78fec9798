"""Values of a TOML file, checked one by one: what is wrong is named by its key's path."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.core.errors import RequestError, nearest, printable

_MOST_FILE_BYTES = 16 * 2**20


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that a person wrote; `what` names its kind in a message.

    Raises:
        RequestError: where it cannot be read, or is no text of a sensible size.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"cannot read the {what} file: {why}; check the path") from error
    if len(content) > _MOST_FILE_BYTES:
        raise RequestError(f"over 16 MiB; a {what} is a small text file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"byte {error.start} is not UTF-8 text; save the file as UTF-8"
        ) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        RequestError: where it is not valid.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for over 4300 digits
        raise RequestError(f"not valid TOML: {printable(error, 200)}") from error


def refuse_unknown(table: dict[str, Any], path: str, valid: Iterable[str]) -> None:
    """Refuse a key that is not among the valid ones, naming the nearest.

    Raises:
        RequestError: where there is one.
    """
    words = tuple(valid)
    for key in table:
        if key not in words:
            where = f"{path}.{printable(key)}" if path else printable(key)
            raise RequestError(f"{where}: unknown key; {nearest(key, words)}")


def as_table(value: object, path: str) -> dict[str, Any]:
    """Return a table.

    Raises:
        RequestError: where it is none.
    """
    if not isinstance(value, dict):
        raise RequestError(f"{path}: must be a table, not {kind_of(value)}")
    return value


def as_list(value: object, path: str) -> list[Any]:
    """Return a list.

    Raises:
        RequestError: where it is none.
    """
    if not isinstance(value, list):
        raise RequestError(f"{path}: must be a list, not {kind_of(value)}")
    return value


def as_text(value: object, path: str) -> str:
    """Return a string.

    Raises:
        RequestError: where it is none.
    """
    if not isinstance(value, str):
        raise RequestError(f"{path}: must be a string, not {kind_of(value)}")
    return value


def as_word(value: object, path: str, valid: Iterable[str]) -> str:
    """Return a string that is one of the valid ones.

    Raises:
        RequestError: where it is none of them.
    """
    word, words = as_text(value, path), tuple(valid)
    if word not in words:
        raise RequestError(f"{path}: {printable(word)!r} is not valid; {nearest(word, words)}")
    return word


def as_truth(value: object, path: str) -> bool:
    """Return true or false.

    Raises:
        RequestError: where it is neither.
    """
    if not isinstance(value, bool):
        raise RequestError(f"{path}: must be true or false, not {kind_of(value)}")
    return value


def as_integer(value: object, path: str, least: int, most: int) -> int:
    """Return a whole number within its limits.

    Raises:
        RequestError: where it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{path}: must be a whole number, not {kind_of(value)}")
    if not least <= value <= most:
        raise RequestError(f"{path}: {printable(value)} is outside {least} to {most}")
    return value


def kind_of(value: object) -> str:
    """Return what a value of a TOML file is, in words."""
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")
