"""Text normalization for scoring: Whisper's English normalizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

CACHED_TEXTS = 8192  # several metrics normalize the same text; a reply is about 1 kB


@cache
def _whisper() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


@lru_cache(maxsize=CACHED_TEXTS)
def normalize(text: str) -> str:
    """`text` normalized by Whisper's English normalizer (Radford et al. 2022, appendix C), words separated by single spaces.

    Lower case, no punctuation, numbers as digits, American spelling, contractions expanded, fillers and brackets removed.
    """
    return " ".join(_whisper()(text).split())


def is_encodable(text: str) -> bool:
    """Whether the text can be encoded as UTF-8: it holds no lone surrogates."""
    return re.search("[\ud800-\udfff]", text) is None
