"""What the simulated libraries raise."""


class CudaError(RuntimeError):
    """What the runtime raises, with its number."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CublasError(RuntimeError):
    """What the library of products raises (CUBLASError)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CompileError(Exception):
    """What the compiler of kernels raises (CompileException)."""


class Faults:
    """Errors that the next call of a name raises, as the driver would.

    A sticky error spoils the context: every call that follows raises it too.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Exception, bool]] = {}
        self._sticky: Exception | None = None

    def raise_at(self, name: str, error: Exception, sticky: bool = False) -> None:
        """Let the next call of `memcpyAsync`, `hostAlloc`, `gemmEx`, `copy_bytes` ... fail."""
        self._waiting[name] = (error, sticky)

    def meet(self, name: str) -> None:
        """Raise what a call of this name is to raise."""
        if self._sticky is not None:
            raise self._sticky
        if name in self._waiting:
            error, sticky = self._waiting.pop(name)
            self._sticky = error if sticky else None
            raise error
