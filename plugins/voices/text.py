"""What may be read aloud of a text."""

from __future__ import annotations

import unicodedata

LONGEST = 2000  # characters in one call; a clause is never that long


def speakable(text: str) -> str:
    """The text without control characters, emoji and other symbols; empty if nothing in it can be read aloud.

    Raises nothing: more than `LONGEST` characters are cut at a word.
    """
    kept = "".join(character if _readable(character) else " " for character in text)
    words = " ".join(kept.split())
    if len(words) > LONGEST:
        words = words[:LONGEST].rsplit(" ", 1)[0]
    return words if any(character.isalnum() for character in words) else ""


def _readable(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMNPZ" or character in "$€£%+=°&"
