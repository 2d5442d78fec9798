"""Programs that measure messages between RDMA devices by verbs."""

from typing import NamedTuple, Protocol


class VerbsError(Exception):
    """A program that measures verbs did not run, or printed nothing that can be believed."""


class VerbsServer(Protocol):
    """The end that waits for the other one."""

    number: int
    """Its TCP port."""

    def finish(self) -> None:
        """Wait, without using the core, until it has ended."""


class VerbsTest(NamedTuple):
    """What programs that measure verbs are asked for."""

    test: str
    """Such as `write_bw`."""
    nbytes: int
    nic: int = -1
    """Number of the RDMA port; -1 for one near the GPU, or else the rank."""
    gpu: str | None = None
    """PCI address of the GPU whose memory is used; None for the host's."""


class Verbs(Protocol):
    """Programs that measure messages by verbs."""

    def lacks(self, asked: VerbsTest) -> str | None:
        """Return what a test needs that is not here, or None."""

    def device_name(self, asked: VerbsTest) -> str:
        """Return the device that is taken, and its port."""

    def distance(self, asked: VerbsTest) -> str | None:
        """Return how far it is from the GPU asked for; None where that is not known."""

    def serve(self, asked: VerbsTest, messages: int) -> VerbsServer:
        """Start the end that waits, and return once it can be connected to.

        Raises:
            VerbsError: where it cannot.
        """

    def measure(self, asked: VerbsTest, messages: int, server: str, number: int) -> float:
        """Return the seconds of one message to the end that waits on a host and TCP port.

        An empty host is this one.

        Raises:
            VerbsError: where there is no such time.
        """
