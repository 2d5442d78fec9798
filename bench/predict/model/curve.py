"""What every fitted curve can do."""

from typing import Protocol


class Curve(Protocol):
    """Seconds as a function of size, with its parameters."""

    @property
    def formula(self) -> str:
        """The curve with its parameters, for people."""

    @property
    def parameters(self) -> tuple[float, ...]:
        """Every fitted number, in a fixed order."""

    def seconds(self, size: float) -> float:
        """Return the predicted seconds at a size."""
