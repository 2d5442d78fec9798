"""Tables and coloured lines on standard output."""

from rich.console import Console


class Output(Console):
    """Standard output; where its reader has gone, that is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Pass the error on instead of an exit of rich's own."""
        raise BrokenPipeError
