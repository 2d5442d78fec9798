#!/bin/bash
#PBS -N cb-000-target-0
#PBS -l select=2:ncpus=1:mpiprocs=1
#PBS -l place=scatter:excl
#PBS -r n
#PBS -l walltime=00:10:00
#PBS -j oe
#PBS -o 000-target-0-0.log
cd /shared/results/20261120T131244Z-small-14ab9e/batch || exit
exec > 000-target-0-0.out 2> 000-target-0-0.err
cat "$PBS_NODEFILE" > 000-target-0-0.nodes
/o5/mpirun -n 2 --bind-to core --hostfile 000-target-0-0.nodes /opt/bench/bin/python -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-0.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
