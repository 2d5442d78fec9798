"""An operation in which messages and NumPy's work take turns, timed in the interpreter.

A call between two phases costs a microsecond or two (`overhead_s`), the phases of a training step
milliseconds.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from bench.contracts import MessageLoops, Seconds, one_sample
from bench.core.schedule import Schedule, Steps

Work = Callable[[], None]
Phase = Steps | Work
_OVERHEAD_SAMPLES = 101


class Phases:
    """Runs phases in order.

    Args:
        loops: follow the schedules.
        phases: steps of messages, and work of NumPy's; messages started in one phase may be
            waited for in a later one.
        meet: steps of a barrier before the clock starts.
        reset: done before each operation, untimed.
    """

    def __init__(
        self,
        loops: MessageLoops,
        phases: Sequence[Phase],
        meet: Steps,
        reset: Work = lambda: None,
    ) -> None:
        self._loops = loops
        self._phases = phases
        self._meet = meet
        self._reset = reset
        most = max((phase.requests for phase in phases if isinstance(phase, Steps)), default=1)
        self._requests = loops.requests(most)
        self._untimed = one_sample()
        self.overhead_s = len(phases) * self._call_s()
        self.compute_s: list[float] = []
        """Of each sample of the latest run: seconds of an operation outside MPI."""

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with the time of one operation, per sample of so many."""
        self.compute_s = []
        for sample in range(len(seconds)):
            passed = computed = 0
            for _ in range(loops):
                self._reset()
                self._loops.follow(self._untimed, 1, self._meet)
                begin = time.perf_counter_ns()
                computed += self._pass()
                passed += time.perf_counter_ns() - begin
            seconds[sample] = passed * 1e-9 / loops
            self.compute_s.append(computed * 1e-9 / loops)

    def _pass(self) -> int:
        """Run every phase once; return the nanoseconds of NumPy's work."""
        computed = 0
        for phase in self._phases:
            if isinstance(phase, Steps):
                self._loops.follow(self._untimed, 1, phase, self._requests)
            else:
                begin = time.perf_counter_ns()
                phase()
                computed += time.perf_counter_ns() - begin
        return computed

    def _call_s(self) -> float:
        """Return the seconds of following no steps."""
        nothing = Schedule().cut()
        times = []
        for _ in range(_OVERHEAD_SAMPLES):
            begin = time.perf_counter_ns()
            self._loops.follow(self._untimed, 1, nothing, self._requests)
            times.append((time.perf_counter_ns() - begin) * 1e-9)
        return float(np.median(times))
