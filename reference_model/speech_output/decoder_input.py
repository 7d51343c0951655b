"""A segment's text as the speech decoder's input, live and in evaluations."""

from __future__ import annotations

from typing import Protocol

import torch

from fobench.api.components import Detokenizer
from reference_model.speech_output.phonemizer import aligned_text, phonemes
from reference_model.speech_output.speech_decoder import SpeechDecoder


class TextBackbone(Protocol):
    """The part of `fobench.api.components.Backbone` that a decoder with rows of the LLM's embeddings uses."""

    def encode(self, text: str) -> list[int]: ...

    def embed(self, ids: torch.Tensor) -> torch.Tensor: ...

    def detokenizer(self) -> Detokenizer: ...


def decoder_input(decoder: SpeechDecoder, backbone: TextBackbone, text: str) -> torch.Tensor | None:
    """A normalized text -> the decoder's text rows [1, H, d], as its configuration has them; None if there is nothing to say.

    A decoder without rows of the LLM's embeddings asks the backbone for nothing.
    """
    if not decoder.config.llm_rows:
        spoken = phonemes(text) if decoder.config.phonetic and text else text
        return decoder.letter_rows(spoken) if spoken else None
    ids = backbone.encode(text)
    if not ids:
        return None
    pieces = aligned_text(ids, text, backbone.detokenizer(), phonetic=decoder.config.phonetic)
    embeddings = backbone.embed(torch.tensor([ids]))[0]
    return decoder.text_rows(embeddings.to(decoder.embedding.weight.device), pieces)
