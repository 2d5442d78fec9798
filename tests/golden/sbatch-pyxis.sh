#!/bin/bash
#SBATCH --job-name=clusterbench-000-target-0
#SBATCH --nodes=2
#SBATCH --ntasks=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-requeue
#SBATCH --time=00:10:00
#SBATCH --output=000-target-0-2.out
#SBATCH --error=000-target-0-2.err
export UCX_TLS=rc
srun --mpi=pmix --nodes=2 --ntasks=2 --ntasks-per-node=1 --distribution=block --cpu-bind=cores --kill-on-bad-exit=1 --export=ALL --unbuffered --input=none '--container-image=nvcr.io#x:1' --container-mounts=/data:/data,/shared/results/20261120T131244Z-small-14ab9e/batch:/shared/results/20261120T131244Z-small-14ab9e/batch --container-env=UCX_TLS python3 -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-2.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
