"""Pinned model files: found, downloaded, verified, converted."""
