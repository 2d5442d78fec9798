"""The batch systems by name, as programs of this room are given it."""

from bench.launch.batch.pbs import Pbs
from bench.launch.batch.queue import Scheduler
from bench.launch.batch.slurm import Slurm

SCHEDULERS: dict[str, Scheduler] = {"slurm": Slurm(), "pbs": Pbs()}
