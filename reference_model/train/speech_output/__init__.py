"""Modules of the output stages: codec and speech decoder."""
