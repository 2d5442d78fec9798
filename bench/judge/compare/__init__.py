"""Two sides, case by case: faster, slower, the same, or too few launches to tell."""
