"""Shares that people type, such as `5%` or `0.05`."""

from bench.core.errors import RequestError, printable


def read_share(option: str, text: str, most: float) -> float:
    """Return the share that an option was given.

    Args:
        option: that it was given to, for errors.
        text: as it was typed.
        most: that it may be.

    Raises:
        RequestError: where it is no share, nothing, or more than that.
    """
    from bench.core.units import parse_share

    try:
        share = parse_share(text)
    except ValueError as error:
        raise RequestError(f"{option}: {printable(error, 200)}") from error
    if not 0 < share <= most:
        raise RequestError(
            f"{option} {printable(text)}: give more than 0 and at most {100 * most:.0f}%"
        )
    return share
