"""Two sides of one question, measured so that drift meets both alike."""
