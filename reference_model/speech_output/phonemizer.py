"""Grapheme-to-phoneme conversion: International Phonetic Alphabet by espeak-ng, one Unicode character per phoneme.

With phonemes, a small speech decoder need not learn pronunciation. They are those of the TTS voice that the decoder was trained on
(`reference_model.train.synthesis.piper_latents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from fobench.api.components import Detokenizer
from fobench.errors import PrerequisiteError
from reference_model.speech_output.segmenter import token_texts

LANGUAGE = "en-us"


def phonemes(text: str) -> str:
    """The phonemes of `text`, sentence after sentence, with its punctuation. Raises PrerequisiteError without piper-tts."""
    return "".join("".join(sentence) for sentence in _espeak().phonemize(LANGUAGE, text))


def phonemes_by_token(ids: Sequence[int], text: str) -> list[str]:
    """A string for each token of a text: all of the text's phonemes, `text`, for the last token, none for the others."""
    return [""] * (len(ids) - 1) + [text] if ids else []


def aligned_text(ids: Sequence[int], text: str, detokenizer: Detokenizer, *, phonetic: bool) -> list[str]:
    """A string for each of the tokens `ids` of `text`, for the speech decoder: the token's letters, or the text's phonemes."""
    return phonemes_by_token(ids, phonemes(text)) if phonetic else token_texts(detokenizer, ids)


@cache
def _espeak() -> Any:
    try:
        from piper.phonemize_espeak import EspeakPhonemizer
    except ImportError as error:
        raise PrerequisiteError("This speech decoder needs phonemes. Install them: pip install piper-tts") from error
    return EspeakPhonemizer()
