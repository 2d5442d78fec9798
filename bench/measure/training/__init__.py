"""Training steps of dense layers over several ranks: products, exchanges and an optimiser."""
