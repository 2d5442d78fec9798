"""Documents read into records by msgspec; what is wrong is one line that begins with its path."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from bench.core.errors import RequestError, nearest, printable

Record = TypeVar("Record", bound=msgspec.Struct)

_SAID = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a date or time",
    "date": "a date or time",
    "time": "a date or time",
}


def convert_strictly(
    document: dict[str, Any], kind: type[Record], hook: Callable[[type, Any], Any] | None = None
) -> Record:
    """Return a document as a record whose structs forbid unknown fields.

    Args:
        document: tables of TOML.
        kind: the record.
        hook: reads types that are the record's own; a ValueError has what is wrong with a value.

    Raises:
        RequestError: where it is not valid, the nearest known word named where one is expected.
    """
    try:
        return msgspec.convert(document, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        match = _SAID.fullmatch(str(error))
        said, path = (match[1], match[2] or "") if match else (str(error), "")
        raise RequestError(_line(said, path, document, kind)) from error


def _line(said: str, path: str, document: dict[str, Any], kind: type) -> str:
    """Return what msgspec said in the words of the other files."""
    where, value, wanted = f"{path}: " if path else "", _value_at(document, path), kind
    for step in _steps(path):
        wanted = _kind_below(wanted, step)
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL):
        key = f"{path}.{printable(match[1])}" if path else printable(match[1])
        return f"{key}: unknown key; {nearest(match[1], _fields(wanted))}"
    if match := re.fullmatch(r"Object missing required field `(.*)`", said, re.DOTALL):
        return f"{path}.{match[1]}: missing" if path else f"{match[1]}: missing"
    if said.startswith("Invalid enum value"):
        words = [str(word) for word in get_args(wanted)]
        return f"{where}{printable(value)!r} is not valid; {nearest(str(value), words)}"
    if match := re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", said):
        return f"{where}must be {_named(match[1])}, not {_named(match[2])}"
    if match := re.fullmatch(r"Expected `[^`]*` (of length )?([<>]=?) (\S+)", said):
        limit = f"{match[2]} {_number(match[3])}"
        if match[1]:
            return f"{where}has {len(value)} values; must be {limit}"
        return f"{where}{printable(value)} is outside {limit}"
    return f"{where}{printable(said, 300)}"


def _named(kinds: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")


def _number(text: str) -> str:
    return text.removesuffix(".0")


def _steps(path: str) -> list[str]:
    return re.findall(r"[^.\[\]]+|\[\d+\]", path)


def _value_at(document: Any, path: str) -> Any:
    for step in _steps(path):
        document = document[int(step[1:-1]) if step.startswith("[") else step]
    return document


def _kind_below(kind: Any, step: str) -> Any:
    """Return the type of a field or an element."""
    if step.startswith("["):
        return _bare(get_args(kind)[0])
    return _bare(get_type_hints(kind, include_extras=True)[step])


def _bare(kind: Any) -> Any:
    """Return a type without its limits, and without None beside it."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    others = [other for other in get_args(kind) if other is not type(None)]
    return _bare(others[0]) if type(None) in get_args(kind) and len(others) == 1 else kind


def _fields(kind: Any) -> tuple[str, ...]:
    return getattr(kind, "__struct_fields__", ())
