"""Times composed of the messages and products that a run was calibrated on."""

from bench.predict.compose.cases import COMPOSED, Composition, Parts, compose_case, fit_parts
from bench.predict.compose.messages import (
    Fitted,
    MessageKind,
    Messages,
    NotComposed,
    fit_messages,
    weave,
)

__all__ = [
    "COMPOSED",
    "Composition",
    "Fitted",
    "MessageKind",
    "Messages",
    "NotComposed",
    "Parts",
    "compose_case",
    "fit_messages",
    "fit_parts",
    "weave",
]
