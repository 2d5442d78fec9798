"""Single cells of a table as records hold them: None where nothing is known."""

import pandas as pd


def whole(number: float) -> int | None:
    """Return a whole number of a column of float64."""
    return None if pd.isna(number) else int(number)


def text(value: object) -> str | None:
    """Return a text of a column that may hold NaN or None beside texts."""
    return value if isinstance(value, str) else None
