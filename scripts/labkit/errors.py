"""What is reported as one line."""


class LabError(Exception):
    """The request is wrong (exit code 2), or a step of carrying it out failed (4)."""

    def __init__(self, text: str, exit_code: int = 2) -> None:
        super().__init__(text)
        self.exit_code = exit_code
