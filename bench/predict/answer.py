"""The answer to `predict`: seconds with their bracket, what they come from, and how they are shown.

`seconds` is what the formula gives; `low_s` and `high_s` are the ends of its bracket, None where
it has none.
"""

from typing import Any

import msgspec

from bench.core.units import format_number, format_rate, format_seconds

Figure = float | int | bool | str | None


class Answer(msgspec.Struct, frozen=True):
    """What a model answers, from what, and what sets it."""

    seconds: float | None
    low_s: float | None
    high_s: float | None
    formula: str
    limited_by: str
    inputs: dict[str, Any]
    figures: dict[str, Any] = {}
    """Further results by name; names carry units where they are not bytes or elements."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything on one level, inputs in a table of their own."""
        whole = msgspec.structs.asdict(self)
        return {**{k: v for k, v in whole.items() if k not in ("inputs", "figures")},
                **self.figures, "inputs": self.inputs}  # fmt: skip


def prediction_text(prediction: Answer) -> list[str]:
    """Return the lines of a prediction for a person: seconds first, then where they come from."""
    lines = []
    if prediction.seconds is not None:
        lines.append(f"{format_seconds(prediction.seconds, 4)}{_bracket(prediction)}")
    width = max((len(name) for name in prediction.figures), default=0)
    for name, value in prediction.figures.items():
        if isinstance(value, dict):
            lines += [f"{name}: {key} {_shown(name, item)}" for key, item in value.items()]
        elif value is not None:
            lines.append(f"{name:{width}}  {_shown(name, value)}")
    lines.append(f"formula: {prediction.formula}")
    lines.append(f"limited by: {prediction.limited_by}")
    inputs = {**prediction.inputs, **prediction.inputs.get("machine", {})}
    given = [
        f"{name} {_shown(name, value)}"
        for name, value in inputs.items()
        if value is not None and not isinstance(value, dict | list)
    ]
    lines.append(f"inputs: {', '.join(given)}")
    return lines


def _bracket(prediction: Answer) -> str:
    if prediction.low_s is None and prediction.high_s is None:
        return ""
    if prediction.high_s is None:
        return f" (at least {format_seconds(prediction.low_s or 0.0, 4)})"
    low, high = (format_seconds(s or 0.0, 4) for s in (prediction.low_s, prediction.high_s))
    return f" ({low} to {high})"


def _shown(name: str, value: Figure | list[int]) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    if isinstance(value, str) or (isinstance(value, int) and not name.endswith("bytes")):
        return str(value)
    if name.endswith("bytes_per_s") or name == "hops":
        return format_rate(value, "B/s", 4)
    if name == "flop_per_s" or name.endswith("_flop_per_s"):
        return format_rate(value, "FLOP/s", 4)
    if name.endswith("_s"):
        return format_seconds(value, 4)
    if name.endswith("bytes"):
        return format_rate(value, "B", 4)
    return format_number(value, 4)
