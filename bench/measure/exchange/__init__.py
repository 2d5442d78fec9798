"""The exchange of gradients between ranks: each strategy, a file, writes one rank's schedule."""
