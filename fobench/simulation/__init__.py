"""One scenario against one system on a clock: no processes, no files."""
