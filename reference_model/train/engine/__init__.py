"""The training loop, which knows no data and no model."""
