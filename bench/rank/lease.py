"""Whether anybody waits for the results of a batch job: its job file is there as long as so."""

import errno
import os
import time
from pathlib import Path

LOOK_S = 1.0
"""Between two looks, which may ask the server of a network file system."""
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)


class AbandonedError(RuntimeError):
    """The job file was removed: whoever submitted the job has given it up."""


class FileLease:
    """Looks for the job file between timed regions, on the rank that has read it.

    It needs no scheduler, and no process that is left to cancel the job.

    Args:
        job_file: None where the lease is the standard input, or another rank's business.
    """

    def __init__(self, job_file: Path | None) -> None:
        self._job_file = job_file
        self._looked_s = time.monotonic()

    def check(self) -> None:
        """Look, if the last look is long ago.

        Raises:
            AbandonedError: where the file is gone.
        """
        if self._job_file is None or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        try:
            # To be opened is what makes a network file system ask its server.
            os.close(os.open(self._job_file, os.O_RDONLY))
        except OSError as error:
            if error.errno in _GONE:
                raise AbandonedError(
                    "its job file is gone: nobody waits for the results of this job"
                ) from error
