"""Runs a step as a process of its own, for so long and no longer."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from firstgpu.answer import Answer, Outcome, read_answer
from firstgpu.deadline import LEFT
from firstgpu.steps import Step

LOG_FILE = "log.txt"
_LAST_LINES = 3


class Asked(NamedTuple):
    """A step that was run, or for which no time was left."""

    step: Step
    answer: Answer
    took_s: float


def ask_step(step: Step, folder: Path, limit_s: float, python: str, env: dict[str, str]) -> Asked:
    """Run a step; whatever it does, there is an answer.

    Args:
        step: to run.
        folder: of the step, which is made.
        limit_s: after this many seconds its processes are killed.
        python: that runs it.
        env: its environment.
    """
    folder.mkdir(parents=True)
    command = [python, "-m", "firstgpu.take_step", step.name, str(folder)]
    env = {**env, LEFT: f"{limit_s:.1f}"}
    begin = time.monotonic()
    with (folder / LOG_FILE).open("wb") as log:
        # A session of its own, so that what it has started is ended with it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    took_s = time.monotonic() - begin
    over = took_s >= limit_s
    end = f"not over after {limit_s:.0f} s" if over else f"ended with status {status}"
    answer = read_answer(folder)
    if answer is None:
        came = f"{end}: {last_words(folder / LOG_FILE)}"
        answer = Answer(Outcome.WRONG, came, "look at its log")
    elif not answer.finished:
        outcome = answer.outcome if over else Outcome.WRONG
        answer = replace(answer, outcome=outcome, came=f"{end}; {answer.came}")
    return Asked(step, answer, took_s)


def last_words(log: Path) -> str:
    """Return the end of what a step printed, in one line."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return " / ".join(said[-_LAST_LINES:])[-400:] or "nothing was printed"
    return "nothing was printed"


def environment(root: Path, site: Path) -> dict[str, str]:
    """Return the environment of the steps: the tree and what was unpacked come first."""
    env = dict(os.environ)
    paths = [str(root), str(root / "scripts"), str(site), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    env["PYTHONFAULTHANDLER"] = "1"
    beside = [str(site / "bin"), str(Path(sys.executable).parent), env.get("PATH", "")]
    env["PATH"] = os.pathsep.join(beside)
    if (site / "lib" / "libmpi.so").exists():
        # Open MPI's wheel, unpacked elsewhere than it was built for.
        env |= {"OPAL_PREFIX": str(site), "PRTE_PREFIX": str(site), "PMIX_PREFIX": str(site),
                "MPI4PY_LIBMPI": str(site / "lib" / "libmpi.so")}  # fmt: skip
        libraries = [site / "lib", site / "libucx" / "lib"]
        found = [str(path) for path in libraries if path.is_dir()]
        env["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, [*found, env.get("LD_LIBRARY_PATH", "")])
        )
        if len(found) > 1:
            env |= {"OMPI_MCA_pml": "ucx", "OMPI_MCA_opal_common_ucx_tls": "any",
                    "OMPI_MCA_opal_common_ucx_devices": "any"}  # fmt: skip
    return env
