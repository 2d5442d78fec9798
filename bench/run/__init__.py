"""From a request to a finished folder, on the host where the command runs."""
