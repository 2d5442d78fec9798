#!/bin/bash
#SBATCH --job-name=clusterbench-000-target-0
#SBATCH --nodes=3
#SBATCH --ntasks=7
#SBATCH --ntasks-per-node=3
#SBATCH --cpus-per-task=4
#SBATCH --nodelist=n01,n02,n03
#SBATCH --exclusive
#SBATCH --no-requeue
#SBATCH --time=02:00:00
#SBATCH --output=000-target-0-0.out
#SBATCH --error=000-target-0-0.err
#SBATCH "--account=hpc 42"
#SBATCH --partition=gpu
#SBATCH --qos "a \"b\" \\c"
# Lines of the site file, as they stand there.
module load openmpi/5  # ours
export EMPTY=''
export UCX_TLS=rc,self
export WORDS='it'"'"'s $HOME `reboot`'
srun --mpi=pmix_v4 --nodes=3 --ntasks=7 --ntasks-per-node=3 --cpus-per-task=4 --distribution=block --cpu-bind=none --kill-on-bad-exit=1 --export=ALL --unbuffered --input=none /opt/bench/bin/python -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-0.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
