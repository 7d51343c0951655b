"""Whisper tiny.en's encoder, as published, from the pinned model file that the recogniser uses too."""

from __future__ import annotations

import torch

from fobench.assets import store
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder

ASSET, FILE = "whisper-tiny.en-ct2", "model.bin"
RANGE = 2.0  # of Whisper's features: what lies further below the loudest of a recording is set to that


def whisper() -> dict[str, torch.Tensor]:
    """Its weights, float32, by OpenAI's names."""
    from fobench.assets import ctranslate2

    state = ctranslate2.whisper_state(ctranslate2.read(store.get(ASSET) / FILE))
    return {key: torch.tensor(value).float() for key, value in state.items() if key.startswith("encoder.")}


def full_context() -> WhisperStreamingEncoder:
    """The frozen encoder, to be run on whole recordings (`ranged` features, no chunk)."""
    encoder = WhisperConfig().build()
    encoder.load_whisper(whisper())
    return encoder.requires_grad_(False).eval()


def ranged(features: torch.Tensor) -> torch.Tensor:
    """Log-mel features [B, N, mels] of whole recordings, with the range that Whisper gives them."""
    return torch.maximum(features, features.amax((1, 2), keepdim=True) - RANGE)
