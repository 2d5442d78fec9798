"""Logs of UCX and NCCL as they would be of jobs with known truths, written for the tests."""

STAMP = "[1763650000.{:06d}] [node{}:4{}:0]"


def ucx_lines(lines: list[str], node: int = 1, rank: int = 0) -> str:
    """Return lines as a process of UCX prints them."""
    return "".join(
        f"{STAMP.format(i, node, rank)}   {line}\n" for i, line in enumerate(lines, start=17)
    )


def table(endpoint: str, operation: str, rows: list[tuple[str, str, str]]) -> list[str]:
    """Return a table as UCX up to 1.20 draws it."""
    first = max(len(endpoint), *(len(row[0]) for row in rows))
    middle, last = (max(len(row[i]) for row in rows) for i in (1, 2))
    middle = max(middle, len(operation) - last - 3)
    rule = f"+{'-' * (first + 2)}+{'-' * (middle + 2)}+{'-' * (last + 2)}+"
    return [
        f"+{'-' * (first + 2)}+{'-' * (middle + last + 5)}+",
        f"| {endpoint:>{first}} | {operation:<{middle + last + 3}} |",
        rule,
        *(f"| {a:>{first}} | {b:<{middle}} | {c:<{last}} |" for a, b, c in rows),
        rule,
    ]


def counted_table(
    endpoint: str, operation: str, rows: list[tuple[int, str, str, str]]
) -> list[str]:
    """Return a table as UCX 1.22 draws it when it is asked for what was used."""
    widths = [5, *(max(len(str(row[i])) for row in rows) for i in (1, 2, 3))]
    widths[2] = max(widths[2], len(operation), len(endpoint), 11)
    whole = sum(widths) + 9
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    head = ("Count", "Range", "Description", "Config")
    return [
        rule,
        f"| {endpoint:<{whole}} |",
        f"| {operation:<{whole}} |",
        rule,
        "| " + " | ".join(f"{word:^{w}}" for word, w in zip(head, widths, strict=True)) + " |",
        rule,
        *(
            f"| {n:>{widths[0]}} | {a:>{widths[1]}} | {b:<{widths[2]}} | {c:<{widths[3]}} |"
            for n, a, b, c in rows
        ),
        rule,
    ]


SEND = "tagged message by ucp_tag_send*(fast-completion) from cuda/GPU0"

# From device memory: copied up to 8 KiB, read by the card up to 800000 bytes, in pieces above.
GPU_ROWS = [
    ("0..88", "eager short gdr_copy", "rc_mlx5/mlx5_2:1"),
    ("89..8K", "eager copy-in copy-out", "rc_mlx5/mlx5_2:1"),
    ("8193..800000", "(?) rendezvous zero-copy read from remote", "rc_mlx5/mlx5_2:1"),
    (
        "800001..inf",
        "(?) rendezvous pipeline cuda_copy, fenced write, cuda_copy",
        "rc_mlx5/mlx5_2:1",
    ),
]

UCX_OLD = ucx_lines(
    [
        *table("worker_0 self cfg#0", "tagged message by ucp_tag_send* from cuda/GPU0",
               [("0..inf", "(?) rendezvous zero-copy read from remote", "cuda_ipc/cuda")]),
        *table("worker_0 inter-node cfg#2", SEND, GPU_ROWS),
        *table("worker_0 inter-node cfg#2", "tagged message by ucp_tag_send* from host memory",
               [("0..2K", "eager short", "rc_mlx5/mlx5_2:1"),
                ("2049..inf", "(?) rendezvous zero-copy read from remote", "rc_mlx5/mlx5_2:1")]),
        *table("worker_0 intra-node cfg#1", SEND,
               [("0..4095", "eager copy-in copy-out cuda_copy", "sysv/memory"),
                ("4K..inf", "(?) rendezvous zero-copy read from remote", "cuda_ipc/cuda")]),
    ]
)  # fmt: skip

UCX_COUNTED = ucx_lines(
    counted_table(
        "worker_0 inter-node cfg#2",
        SEND,
        [
            (0, "0..8K", "eager copy-in copy-out", "rc_mlx5/mlx5_0:1"),
            (340, "8193..inf", "(?) rendezvous zero-copy read from remote", "rc_mlx5/mlx5_0:1"),
        ],
    )
    + counted_table(
        "worker_0 inter-node cfg#2",
        "rendezvous data fetch(frag) into cuda/GPU1 from host",
        [(12, "0..inf", "copy-out", "cuda_copy/cuda")],
    )
)

UCX_ENDPOINTS = (
    "[1763650000.1] [node1:40:0]     ucp_context.c:2463 UCX  INFO  Version 1.17.0 (loaded from x)\n"
    "[1763650000.2] [node1:40:0]      ucp_worker.c:1912 UCX  INFO    worker_0 intra-node cfg#1 "
    "tag(sysv/memory cuda_ipc/cuda)  rma(sysv/memory)\n"
    "[1763650000.3] [node1:40:0]      ucp_worker.c:1468 UCX  INFO  ep_cfg[2]: "
    "tag(rc_mlx5/mlx5_0:1 rc_mlx5/mlx5_1:1);\n"
)

NCCL_DIRECT = """\
node1:900:911 [0] NCCL INFO DMA-BUF is available on GPU device 0
node1:900:911 [0] NCCL INFO NET/IB : GPU Direct RDMA Enabled for HCA 0 'mlx5_2'
node1:900:911 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM
node1:900:911 [0] NCCL INFO Channel 00/0 : 1[1] -> 2[0] [send] via NET/IB/0/GDRDMA
node1:900:911 [0] NCCL INFO Channel 01/0 : 1[1] -> 2[0] [send] via NET/IB/1(3)/GDRDMA/Shared
"""

NCCL_STAGED = """\
node1:900:911 [0] NCCL INFO DMA-BUF is available on GPU device 0
node1:900:911 [0] NCCL INFO NET/IB : GPU Direct RDMA Disabled for HCA 0 'mlx5_2'
node1:900:911 [0] NCCL INFO Channel 00 : 0[1c000] -> 1[1d000] via SHM/direct/direct
node1:900:911 [0] NCCL INFO Channel 00/0 : 1[1] -> 2[0] [receive] via NET/IB/0
"""
