"""Running scenarios in worker processes, with resume."""
