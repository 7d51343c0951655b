"""Writes a report's file whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_text(path: Path, text: str) -> Path:
    """UTF-8; what has no UTF-8 (a lone surrogate) becomes a question mark. A reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(text.encode("utf-8", "replace"))
    partial.replace(path)
    return path
