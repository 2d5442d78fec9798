#!/bin/bash
#SBATCH --job-name=clusterbench-000-target-0
#SBATCH --nodes=2
#SBATCH --ntasks=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-requeue
#SBATCH --time=00:10:00
#SBATCH --output=000-target-0-0.out
#SBATCH --error=000-target-0-0.err
srun --mpi=pmix --nodes=2 --ntasks=2 --ntasks-per-node=1 --distribution=block --cpu-bind=cores --kill-on-bad-exit=1 --export=ALL --unbuffered --input=none /opt/bench/bin/python -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-0.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
