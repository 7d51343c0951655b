"""Tables and texts of a report, independent of the output format."""
