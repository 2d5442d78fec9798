"""Run `python -m bench` as the `clusterbench` command."""

from bench.core.program import shun_current_folder

# Before anything else is imported: `-m` has put the current folder first.
shun_current_folder()

from bench.cli import main  # noqa: E402

main()
