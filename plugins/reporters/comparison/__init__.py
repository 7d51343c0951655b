"""What changed between two runs, as tables, Markdown and terminal output."""
