"""Text preparation of the TTS voices: removal of unspeakable characters, and splitting into parts that a model
accepts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fobench.api.types import AudioChunk

MAX_CHARACTERS = 400  # per call of a model: memory grows with the length, and Kokoro accepts 510 phonemes
SYMBOL_WORDS = {"&": " and ", "%": " percent ", "@": " at ", "+": " plus ", "=": " equals ", "°": " degrees "}
MONEY = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen"}
QUOTES = str.maketrans("\u2018\u2019\u201c\u201d\u2010\u2011", "''\"\"--")
PAUSES = str.maketrans({"\u2013": ", ", "\u2014": ", ", "\u2026": "..."})
UNSPOKEN_CATEGORIES = (
    "CSM"  # Unicode categories: control, format and private characters; symbols (with emoji); lone marks
)


def speakable(text: str) -> str:
    """The text without markup, emoji and control characters; empty if it has no letter or digit."""
    text = unicodedata.normalize("NFC", text).translate(QUOTES).translate(PAUSES)
    text = re.sub(r"([$€£¥])\s?(\d[\d.,]*\d|\d)", lambda m: f"{m[2]} {MONEY[m[1]]}", text)
    text = re.sub(r"(?<!\w)[*_`#~]+|[*_`#~]+(?!\w)", " ", text)
    text = "".join(SYMBOL_WORDS.get(c, " " if unicodedata.category(c)[0] in UNSPOKEN_CATEGORIES else c) for c in text)
    text = " ".join(re.sub(r"[\[\]{}|\\<>]", " ", text).split())  # Piper parses [[ ]] as phonemes
    return text if any(_is_spoken(c) for c in text) else ""


def _is_spoken(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LN" and category != "Lm"


def split_text(text: str, max_characters: int = MAX_CHARACTERS) -> list[str]:
    """The text in parts of at most `max_characters`, split after a sentence, else after a clause, else at a space."""
    pieces: list[str] = []
    while len(text) > max_characters:
        cuts = [
            max((m.end() for m in re.finditer(end, text[:max_characters])), default=0)
            for end in (r"[.!?] ", r"[,;:] ", " ")
        ]
        cut = next((c for c in cuts if c > max_characters // 4), max_characters)
        pieces.append(text[:cut].strip())
        text = text[cut:].strip()
    return [*pieces, text] if text else pieces


def join_audio(pieces: Sequence[npt.NDArray[np.floating]], rate_hz: int) -> AudioChunk:
    """The concatenated audio [T], float32, attenuated if it would clip; an empty chunk without pieces."""
    samples = np.nan_to_num(np.concatenate([np.zeros(0, np.float32), *(p.astype(np.float32).ravel() for p in pieces)]))
    peak = float(np.abs(samples).max(initial=0.0))
    return AudioChunk(samples / np.float32(max(1.0, peak)), rate_hz)
