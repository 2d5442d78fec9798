"""As much of CuPy as a rank asks for NCCL: a GPU of host memory, whose NCCL is the job's MPI.

Only tests put this folder on a path. What is queued is done when the rank waits for its stream.
"""

from cupy import cuda as cuda
