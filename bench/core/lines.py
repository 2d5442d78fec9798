"""Lines of a stream that comes in pieces."""


class Lines:
    """Cuts pieces into lines; a line costs what its bytes cost, in however many pieces it comes."""

    def __init__(self) -> None:
        self._open: list[bytes] = []
        """Pieces of the line that has not ended."""

    def add(self, piece: bytes) -> list[bytes]:
        """Return the lines that end in this piece, without their ends."""
        # Only what is new is searched: the pieces before it hold no end of a line.
        *complete, last = piece.split(b"\n")
        if complete:
            complete[0] = b"".join((*self._open, complete[0]))
            self._open = []
        if last:
            self._open.append(last)
        return complete

    def rest(self) -> bytes:
        """Return what has come of the line that has not ended."""
        return b"".join(self._open)
