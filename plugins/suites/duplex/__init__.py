"""`duplex`: full-duplex turn-taking scenarios by category, each with a paired control."""
