"""What `clusterbench ab` is asked for."""

import msgspec

from bench.core.errors import RequestError
from bench.plan.suite import Suite, load_suite
from bench.run.request import Request, decode_path, split_flags

LAUNCHES = 10
MOST_UNTIL_DECIDED = 40


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a new comparison is asked for."""

    request: Request
    """Of both sides."""
    sets: dict[str, dict[str, str]]
    """What each side sets, by key."""
    launches: int
    """Of each side; where it goes on until it is decided, the most."""
    until_decided: bool = False
    margin: float
    manual: str | None = None


class More(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for beyond what a comparison was begun with."""

    launches: int | None = None
    """Of each side, with those that it has; where it goes on until it is decided, the most."""
    until_decided: bool = False


def check_request(request: Request) -> Suite:
    """Return the suite of what both sides are asked for.

    Raises:
        RequestError: where the suite is wrong, or a flag would leave nothing to compare.
    """
    if request.budget is not None:
        raise RequestError(
            "--budget cuts launches to different lengths, which cannot be compared; ask for fewer "
            "with --launches, or a shorter suite"
        )
    if request.replay is not None or request.launcher == "replay":
        raise RequestError("a run that is played back says nothing new; compare stored runs")
    return load_suite(request.suite)


def stored_asked(flags: dict[str, str | int | bool | None], suite: str) -> Request:
    """Return the request whose flags were kept with a comparison.

    Raises:
        RequestError: where they are none.
    """
    plain, variables = split_flags(flags)
    try:
        return msgspec.convert(
            {**plain, "suite": suite, "variables": variables}, Request, dec_hook=decode_path
        )
    except msgspec.ValidationError as error:
        raise RequestError(f"the flags of the comparison cannot be read: {error}") from error
