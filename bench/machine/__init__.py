"""What a node is made of, which MPI starts its ranks, and what to fix before measuring."""
