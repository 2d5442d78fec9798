"""compute-sanitizer over the copy kernel, at sizes whose last bytes are copied one by one."""

import shutil
import subprocess
import sys
from pathlib import Path

from firstgpu.answer import Answer, NotHereError, Outcome
from firstgpu.gpu import open_device, open_pair

SIZES = (1, 15, 16, 17, 2**20 + 5)
FOUND = 99


def copy_all() -> None:
    """Copy every size once by the kernel; nothing is timed, so no kernel holds a stream."""
    for nbytes in SIZES:
        pair = open_pair(("device", "device"), nbytes)
        pair.source.fill(1)
        pair.target.poison(1)
        open_device().open_copies([pair.transfer()], "kernel")
        if pair.target.count_wrong(1):
            sys.exit(f"{nbytes} bytes were not copied rightly")


def ask(folder: Path) -> Answer:
    """Run this file under the sanitizer."""
    del folder
    open_device()
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if program is None:
        raise NotHereError("no compute-sanitizer")
    command = [program, "--tool", "memcheck", "--error-exitcode", str(FOUND)]
    answer = subprocess.run(
        [*command, sys.executable, "-m", "firstgpu.sanitizer"], capture_output=True, text=True
    )
    print(answer.stdout, answer.stderr)
    last = (answer.stdout.strip() or answer.stderr.strip() or "nothing").splitlines()[-1]
    outcome = Outcome.WRONG if answer.returncode else Outcome.RIGHT
    return Answer(outcome, last, "the copy kernel touches its own bytes alone, of any size")


if __name__ == "__main__":
    copy_all()
