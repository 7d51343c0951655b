"""Clips on disk and batches of them."""
