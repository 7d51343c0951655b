"""Sentences to render."""
