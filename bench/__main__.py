"""Run `python -m bench` as the `clusterbench` command."""

from bench.cli import main

main()
