"""From a suite file to the jobs of a run."""
