"""Modules of input stages 1 and 2 and of the second pass."""
