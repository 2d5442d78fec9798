#!/bin/bash
#PBS -N cb-000-target-0
#PBS -l select=1:host=n01:ncpus=12:mpiprocs=3+1:host=n02:ncpus=8:mpiprocs=2+1:host=n03:ncpus=8:mpiprocs=2
#PBS -l place=scatter:excl
#PBS -r n
#PBS -l walltime=00:10:00
#PBS -j oe
#PBS -o 000-target-0-0.log
#PBS -A "hpc 42"
#PBS -q gpu
#PBS -W umask=077
cd /shared/results/20261120T131244Z-small-14ab9e/batch || exit
exec > 000-target-0-0.out 2> 000-target-0-0.err
cat "$PBS_NODEFILE" > 000-target-0-0.nodes
export A='b c'
/o5/mpirun -n 7 --bind-to none --hostfile 000-target-0-0.nodes -x A /opt/bench/bin/python -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-0.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
