"""Turn-taking, shared by Freeze-Omni and the cascade: numpy only, but for the state head."""
