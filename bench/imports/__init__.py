"""Readers of what other tools print; a new one is a file here."""
