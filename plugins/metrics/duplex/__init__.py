"""Turn-taking metrics of full-duplex scenarios."""
