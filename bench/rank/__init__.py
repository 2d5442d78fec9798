"""The program of every rank: `python -m bench.rank`."""
