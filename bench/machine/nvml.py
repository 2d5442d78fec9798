"""Questions to NVML, whose names and answers differ between drivers, GPUs and containers."""

from collections.abc import Sequence
from typing import Any

_WORDS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
"""Member of the union that each NVML_VALUE_TYPE_* fills (nvml.h, nvmlValue_t)."""
_SHORT = {1, 5, 6}
"""Types of at most 32 bits."""

Field = tuple[str, int]
"""A field by its name in `pynvml`, and its scope: the number of an NVLink, else 0."""


class Asker:
    """Asks NVML one question; what a GPU, a driver or a container does not answer is None.

    Questions are named, since the next version of the library may have dropped a deprecated one.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        # ValueError: a name that is not UTF-8.
        self._refusals = (nvml.NVMLError, ValueError, AttributeError)

    def __call__(self, question: str, *args: Any) -> Any:
        try:
            return getattr(self._nvml, question)(*args)
        except self._refusals:
            return None

    def fields(
        self, handle: Any, fields: Sequence[Field], *, wide: bool = False
    ) -> list[int | float | None]:
        """Return the values of fields, each read as the type that NVML says it is.

        Args:
            handle: of the GPU.
            fields: which; a name that the library lacks has no value.
            wide: leave out what has 32 bits: as a counter of bytes it wraps within a second.
        """
        numbers = [(getattr(self._nvml, name, None), scope) for name, scope in fields]
        asked = [pair for pair in numbers if pair[0] is not None]
        answers = self("nvmlDeviceGetFieldValues", handle, asked) if asked else []
        if answers is None:
            # One field that a driver does not know may refuse them all.
            singly = (self("nvmlDeviceGetFieldValues", handle, [pair]) for pair in asked)
            answers = [each[0] if each else None for each in singly]
        values = dict(zip(asked, (self._value(each, wide) for each in answers), strict=True))
        return [values.get(pair) for pair in numbers]

    def _value(self, answer: Any, wide: bool) -> int | float | None:
        # Each answer has a status of its own.
        if answer is None or answer.nvmlReturn != self._nvml.NVML_SUCCESS:
            return None
        word = _WORDS.get(answer.valueType)
        if word is None or (wide and answer.valueType in _SHORT):
            return None
        value: int | float = getattr(answer.value, word)
        return value


def nvlink_states(nvml: Any, handle: Any) -> list[bool] | None:
    """Return whether each NVLink is active; none of them where the GPU has no NVLink."""
    links: list[bool] = []
    for number in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            links.append(nvml.nvmlDeviceGetNvLinkState(handle, number) == nvml.NVML_FEATURE_ENABLED)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
            break  # past the last link of this GPU
        except nvml.NVMLError:
            return None
    return links
