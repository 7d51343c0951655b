"""Freeze-Omni's trained parts, put together. The LLM between them is not one of them: it stays frozen, and apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reference_model.config import ModelConfig
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.turn_taking.state_head import StateHead


class FreezeOmni(nn.Module):
    """Encoder, adapter, prompt, state head; speech decoder; codec. Sizes and kinds are those of `config`."""

    encoder: SpeechEncoder
    prompt: nn.Parameter  # [P, D]: learnt vectors before the audio of a user turn (paper, input stage 3)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.encoder.build()
        self.adapter = config.adapter.build()
        known = (
            config.rereader is not None and config.rereader.units > 0
        )  # else there is none, or it is not trained yet
        self.rereader = config.rereader.build() if config.rereader and known else None
        self.prompt = new_prompt(config)
        self.state_head = StateHead(config.llm_size, config.adapter.evidence, config.state_middle)
        self.decoder = SpeechDecoder(config.decoder)
        self.codec = config.codec.build()

    def hear(self, features: torch.Tensor, encoder: Any, adapter: Any) -> tuple[torch.Tensor, Any, Any]:
        """A chunk of features [B, F, mels] -> (the adapter's output [B, n, ...], encoder state, adapter state)."""
        frames, encoder = self.encoder.step(features, encoder)
        heard, adapter = self.adapter.step(frames, adapter)
        return heard, encoder, adapter

    def reread(self, features: torch.Tensor, heard: torch.Tensor) -> list[int]:
        """All the features [1, N, mels] of a user turn, and the adapter's output of it -> what is read of both hearings, as units."""
        assert self.rereader is not None and isinstance(self.adapter, CTCAdapter)
        config, log_p = self.rereader.config, self.rereader.read(features, heard)[0]
        own = heard[0, :, : config.units].float().log_softmax(-1)
        return self.adapter.whole((log_p, own), config.weights, config.beam)

    @torch.no_grad()
    def counts(self) -> dict[str, int]:
        """Parameters by part."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**parts, "prompt": self.prompt.numel()}


def new_prompt(config: ModelConfig) -> nn.Parameter:
    """Vectors [P, D] that have not learnt yet."""
    return nn.Parameter(torch.randn(config.prompts, config.llm_size) * 0.02)
