"""What the simulated libraries raise."""


class CudaError(RuntimeError):
    """What the runtime raises, with its number."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
