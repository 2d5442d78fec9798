"""The schemas of files: an older one is read, a newer one refused."""

from pathlib import Path

from bench.core.errors import RequestError, printable


def refuse_newer(path: Path, schema: int, newest: int) -> None:
    """Refuse a file that a newer version wrote.

    Raises:
        RequestError: where its schema is above the newest that this version reads.
    """
    if schema > newest:
        raise RequestError(
            f"{printable(path, 400)} has schema {schema}, this version reads up to {newest}; "
            "upgrade clusterbench"
        )
