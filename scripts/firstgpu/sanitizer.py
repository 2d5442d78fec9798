"""compute-sanitizer over the copy kernel, at sizes whose last bytes are copied one by one."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.rank.memory.copies import queue_kernels
from bench.rank.memory.stream_timer import GpuStream
from firstgpu.answer import Answer, NotHereError, Outcome
from firstgpu.gpu import open_device, open_pair
from firstgpu.rows import end_in_time
from firstgpu.supervise import last_words

SIZES = (1, 15, 16, 17, 2**20 + 5)
FOUND = 99


def copy_all() -> None:
    """Copy every size once by the kernel, which nothing times and no other kernel holds.

    Under the sanitizer one kernel runs at a time: none could be queued behind a hold.
    """
    gpu = open_device().gpu
    on = GpuStream(gpu, gpu.stream)
    for nbytes in SIZES:
        pair = open_pair(("device", "device"), nbytes)
        pair.source.fill(1)
        pair.target.poison(1)
        (launch,) = queue_kernels(on, [pair.transfer()])
        with gpu.device, gpu.stream:
            launch()
        gpu.stream.synchronize()
        if pair.target.count_wrong(1):
            sys.exit(f"{nbytes} bytes were not copied rightly")


def ask(folder: Path) -> Answer:
    """Run this file under the sanitizer."""
    open_device()
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if program is None:
        raise NotHereError("no compute-sanitizer")
    # An error that a library's call returns and the library handles is no wrong access.
    command = [program, "--tool", "memcheck", "--report-api-errors", "no",
               "--error-exitcode", str(FOUND)]  # fmt: skip
    command += [sys.executable, "-m", "firstgpu.sanitizer"]
    log = folder / "sanitizer.txt"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        end_in_time(process)
    last = last_words(log)
    outcome = Outcome.WRONG if process.returncode else Outcome.RIGHT
    return Answer(outcome, last, "the copy kernel touches its own bytes alone, of any size")


if __name__ == "__main__":
    copy_all()
