"""What every voice does to text before it speaks: only what can be said, in portions that a model takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fobench.api.types import AudioChunk

LONGEST = 400  # characters given to a model at once: memory grows with it, and Kokoro takes 510 phonemes
SPOKEN = {"&": " and ", "%": " percent ", "@": " at ", "+": " plus ", "=": " equals ", "°": " degrees "}
MONEY = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen"}
QUOTES = str.maketrans("\u2018\u2019\u201c\u201d\u2010\u2011", "''\"\"--")
PAUSES = str.maketrans({"\u2013": ", ", "\u2014": ", ", "\u2026": "..."})
UNSPOKEN = "CSM"  # Unicode's control, format and private characters; symbols, emoji among them; marks on their own


def speakable(text: str) -> str:
    """The text without markup, emoji and control characters; empty if it holds no letter or digit."""
    text = unicodedata.normalize("NFC", text).translate(QUOTES).translate(PAUSES)
    text = re.sub(r"([$€£¥])\s?(\d[\d.,]*\d|\d)", lambda m: f"{m[2]} {MONEY[m[1]]}", text)
    text = re.sub(r"(?<!\w)[*_`#~]+|[*_`#~]+(?!\w)", " ", text)
    text = "".join(SPOKEN.get(c, " " if unicodedata.category(c)[0] in UNSPOKEN else c) for c in text)
    text = " ".join(re.sub(r"[\[\]{}|\\<>]", " ", text).split())  # Piper would take [[ ]] for phonemes
    return text if any(_is_spoken(c) for c in text) else ""


def _is_spoken(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] in "LN" and kind != "Lm"


def portions(text: str, longest: int = LONGEST) -> list[str]:
    """The text in pieces of at most `longest` characters, cut after a sentence, else after a clause, else at a space."""
    pieces: list[str] = []
    while len(text) > longest:
        cuts = [
            max((m.end() for m in re.finditer(end, text[:longest])), default=0) for end in (r"[.!?] ", r"[,;:] ", " ")
        ]
        cut = next((c for c in cuts if c > longest // 4), longest)
        pieces.append(text[:cut].strip())
        text = text[cut:].strip()
    return [*pieces, text] if text else pieces


def joined(pieces: Sequence[npt.NDArray[np.floating]], rate_hz: int) -> AudioChunk:
    """The pieces one after the other, float32, softer as a whole if they would clip; no pieces are an empty chunk."""
    samples = np.nan_to_num(np.concatenate([np.zeros(0, np.float32), *(p.astype(np.float32).ravel() for p in pieces)]))
    peak = float(np.abs(samples).max(initial=0.0))
    return AudioChunk(samples / np.float32(max(1.0, peak)), rate_hz)
