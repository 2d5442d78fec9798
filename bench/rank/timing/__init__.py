"""Timed loops, and the rules that decide how many samples are enough."""
