"""Text as the scorers compare it: Whisper's English normaliser, containment of an answer, multiple-choice replies."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

CACHED_TEXTS = 8192  # a text is normalised by several metrics in a row; a reply is about 1 kB


@cache
def _whisper() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normaliser: Callable[[str], str] = EnglishTextNormalizer()
    return normaliser


@lru_cache(maxsize=CACHED_TEXTS)
def normalise(text: str) -> str:
    """`text` by Whisper's English normaliser (Radford et al. 2022, appendix C), words parted by single spaces.

    Lower case, no punctuation, numbers as digits, American spelling, contractions spelt out, "um" and brackets dropped.
    """
    return " ".join(_whisper()(text).split())


def whole(text: str) -> bool:
    """Whether the text is no more than characters: without halves of one (lone surrogates), which no file can hold."""
    return re.search("[\ud800-\udfff]", text) is None
