"""What was seen to carry the messages of a job."""

import msgspec

SHARED_MEMORY = "shared memory"
SINGLE, DOUBLE = "single copy", "two copies"


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """What carried trial messages of host memory between two ranks, before any case.

    None stands for what could not be seen.
    """

    hosts: tuple[str, ...]
    """Of both ranks; one where they share it."""
    small: str | None = None
    """What carried messages of `small_bytes`, such as `shared memory`, `TCP over eth0` or
    `RDMA over mlx5_0:1`."""
    large: str | None = None
    """The same of `large_bytes`."""
    copies: str | None = None
    """Of a large message in shared memory: `single copy` where one rank alone touched the memory of
    both, with the way to it as far as it is known, else `two copies`."""
    small_bytes: int
    large_bytes: int | None = None
    """None where no case of the job has messages so large that it would be another one."""

    @property
    def between(self) -> str:
        """Where it is: within a host, or between hosts."""
        return "within a host" if len(set(self.hosts)) == 1 else "between hosts"

    def describe(self) -> str:
        """Return what carried which messages, for people."""
        small, large = self.small or "unknown", self.large or "unknown"
        if self.large_bytes is None:
            return small
        told = f", {self.copies}" if self.copies else ""
        if small == large:
            return f"{small}{told}"
        return f"{small}; from {self.large_bytes} B {large}{told}"
