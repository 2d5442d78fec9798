"""clusterbench: benchmarks for GPU clusters.

A suite is planned into jobs of cases; a launcher starts each job under MPI; the worker on every
rank measures and rank 0 prints events; the runner, the only writer, turns events into rows;
models fitted on the calibration cases predict the others before they run; analysis and report
read the files that the runner wrote.
"""

__version__ = "0.1.0"
