"""Ends a batch job, however long its scheduler gives no answer.

As a program (`python -m bench.launch.batch.cancel slurm|pbs NUMBER`) it goes on after the run that
submitted the job has ended, since a scheduler whose server is busy or started again refuses.
"""

import contextlib
import subprocess
import sys
import time

from bench.core.program import module_command
from bench.launch.batch.question import Question
from bench.launch.batch.queue import Scheduler
from bench.launch.batch.schedulers import SCHEDULERS

LIMIT_S = 900.0
"""For a server to be started again."""
ANSWER_S = 60.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


def cancel(scheduler: Scheduler, number: str, limit_s: float = LIMIT_S) -> bool:
    """Cancel a batch job again and again until the scheduler takes it; return whether it did.

    Args:
        scheduler: which holds the job.
        number: of the job.
        limit_s: after which it is given up.
    """
    until_s, pause_s = time.monotonic() + limit_s, _FIRST_PAUSE_S
    while not _cancel_once(scheduler, number):
        if time.monotonic() + pause_s > until_s:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return True


def _cancel_once(scheduler: Scheduler, number: str) -> bool:
    with contextlib.suppress(OSError):
        answer = Question(scheduler.cancel_command(number), ANSWER_S).wait(2 * ANSWER_S)
        return answer is not None and scheduler.is_cancelled(answer.status, answer.error)
    return False


def cancel_apart(name: str, number: str) -> None:
    """Start the cancellation in a program of its own, which nobody waits for.

    Args:
        name: of the scheduler, as `SCHEDULERS` has it.
        number: of the job.
    """
    with contextlib.suppress(OSError):
        subprocess.Popen(
            (*module_command("bench.launch.batch.cancel"), name, number),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What ends the run must not end this.
            start_new_session=True,
        )


if __name__ == "__main__":
    sys.exit(not cancel(SCHEDULERS[sys.argv[1]], sys.argv[2]))
