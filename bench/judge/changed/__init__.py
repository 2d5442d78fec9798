"""What else differs between two runs, so that a changed number is not laid at the wrong door."""
