"""`duplex`: who speaks when, tested family by family, each with a paired control."""
