"""Checkpoints on disk: safetensors, in one file or in pinned parts."""
