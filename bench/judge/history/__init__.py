"""When a case changed, over all runs of a folder."""
