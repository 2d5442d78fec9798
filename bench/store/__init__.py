"""The folder of a run: the one writer, and the readers of what it left."""
