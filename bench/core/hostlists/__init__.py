"""Lists of hosts as people and batch systems write them: names, sets, counts, host files."""
