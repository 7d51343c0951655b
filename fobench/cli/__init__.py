"""The command line: click commands."""
