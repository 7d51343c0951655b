"""How a text is said: phonemes of the International Phonetic Alphabet, by espeak-ng, a Unicode character each.

A decoder that reads phonemes need not learn to spell, which is most of what a small one finds hard. They are those of the voice
that its speech was learnt from (`reference_model.train.synthesis.piper_latents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from fobench.api.components import Detokenizer
from fobench.errors import PrerequisiteError
from reference_model.speech_output.segmenter import pieces_of

LANGUAGE = "en-us"


def phonemes(text: str) -> str:
    """The phonemes of `text`, sentence after sentence, with its punctuation. Raises PrerequisiteError without piper-tts."""
    return "".join("".join(sentence) for sentence in _espeak().phonemize(LANGUAGE, text))


def sounding(ids: Sequence[int], said: str) -> list[str]:
    """What stands beside each of a text's tokens where its phonemes `said` are read: all of them beside the last."""
    return [""] * (len(ids) - 1) + [said] if ids else []


def pieces(ids: Sequence[int], text: str, reader: Detokenizer, *, phonetic: bool) -> list[str]:
    """What is read beside each of the tokens `ids` of `text`: its letters, or the text's phonemes."""
    return sounding(ids, phonemes(text)) if phonetic else pieces_of(reader, ids)


@cache
def _espeak() -> Any:
    try:
        from piper.phonemize_espeak import EspeakPhonemizer
    except ImportError as error:
        raise PrerequisiteError("This speech decoder reads phonemes. Install them: pip install piper-tts") from error
    return EspeakPhonemizer()
