"""What scripts/prove-compare is made of."""
