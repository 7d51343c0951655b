"""The HTML report: templates, charts and timelines in one file that works offline."""
