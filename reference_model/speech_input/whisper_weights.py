"""The encoder of Whisper tiny.en, from the pinned model file that the speech recognizer uses, too."""

from __future__ import annotations

import torch

from fobench.assets import store
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder

ASSET, FILE = "whisper-tiny.en-ct2", "model.bin"
RANGE = 2.0  # dynamic range of Whisper's features: values are clipped to this much below a recording's maximum


def whisper() -> dict[str, torch.Tensor]:
    """The encoder's weights, float32, by OpenAI's names."""
    from fobench.assets import ctranslate2

    state = ctranslate2.whisper_state(ctranslate2.read(store.get(ASSET) / FILE))
    return {key: torch.tensor(value).float() for key, value in state.items() if key.startswith("encoder.")}


def full_context() -> WhisperStreamingEncoder:
    """The frozen encoder, for complete recordings (`ranged` features, no chunks)."""
    encoder = WhisperConfig().build()
    encoder.load_whisper(whisper())
    return encoder.requires_grad_(False).eval()


def ranged(features: torch.Tensor) -> torch.Tensor:
    """Log-mel features [B, N, mels] of complete recordings, clipped to Whisper's dynamic range."""
    return torch.maximum(features, features.amax((1, 2), keepdim=True) - RANGE)
