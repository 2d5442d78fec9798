"""What came of a proof."""

from typing import NamedTuple


class Proved(NamedTuple):
    """What came of a proof."""

    text: str
    """Markdown."""
    met: bool
    """Whether all claims hold."""
