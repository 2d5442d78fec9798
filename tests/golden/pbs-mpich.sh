#!/bin/bash
#PBS -N cb-000-target-0
#PBS -l select=2:ncpus=2:mpiprocs=2+1:ncpus=1:mpiprocs=1
#PBS -l place=scatter:excl
#PBS -r n
#PBS -l walltime=00:10:00
#PBS -j oe
#PBS -o 000-target-0-0.log
cd /shared/results/20261120T131244Z-small-14ab9e/batch || exit
exec > 000-target-0-0.out 2> 000-target-0-0.err
cat "$PBS_NODEFILE" > 000-target-0-0.nodes
/m5/mpiexec -n 5 -bind-to core -launcher ssh -f 000-target-0-0.nodes apptainer exec --nv --bind /scratch:/data --bind /shared/results/20261120T131244Z-small-14ab9e/batch /images/bench.sif /opt/bench/bin/python -P -m bench.rank --job /shared/results/20261120T131244Z-small-14ab9e/batch/000-target-0-0.json
status=$?
echo
echo "@clusterbench-exit $status"
exit "$status"
