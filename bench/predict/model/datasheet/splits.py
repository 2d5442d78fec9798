"""What ranks exchange for one dense layer: its gradients, or its activations.

Data parallel: all-reduce of the d_in x d_out gradients. Model parallel by rows of the weights: the
partial outputs are added up forward and the input's gradients put together backward. By columns:
outputs are put together forward and the input's gradients added up backward. Adding up costs a
rank 2 (p - 1) / p of the elements, putting together (p - 1) / p.
"""

import msgspec


class Split(msgspec.Struct, frozen=True):
    """Elements that a rank sends and receives per step, and where the splits break even."""

    data_elements: float
    row_elements: float
    column_elements: float
    row_crossover_batch: float | None
    """Below it a split by rows moves less than data parallelism; None where nothing moves."""
    column_crossover_batch: float | None


def split_layer(batch: int, d_in: int, d_out: int, ranks: int) -> Split:
    """Count what a dense layer of `d_in` x `d_out` weights makes each rank exchange per step.

    The break-even batches do not depend on the number of ranks.

    Args:
        batch: examples of all ranks together.
        d_in: rows of the weights.
        d_out: columns of the weights.
        ranks: that share the layer.
    """
    once = (ranks - 1) / ranks
    weights = d_in * d_out
    return Split(
        data_elements=2 * once * weights,
        row_elements=batch * once * (2 * d_out + d_in),
        column_elements=batch * once * (d_out + 2 * d_in),
        row_crossover_batch=2 * weights / (2 * d_out + d_in) if ranks > 1 else None,
        column_crossover_batch=2 * weights / (d_out + 2 * d_in) if ranks > 1 else None,
    )
