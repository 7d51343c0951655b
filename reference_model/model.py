"""The trained modules of Freeze-Omni. The frozen LLM between them is not included."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reference_model.config import ModelConfig
from reference_model.speech_input.bpe_units import with_mark
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.ctc_beam_search import CTCPrefixBeam, ctc_log_probabilities
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_output import text_normalizer
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.turn_taking.state_head import StateHead


class FreezeOmni(nn.Module):
    """Encoder, adapter, prompt, state head; speech decoder; codec. `config` gives their types and sizes."""

    encoder: SpeechEncoder
    prompt: nn.Parameter  # [P, D]: trained vectors before the audio of a user turn (paper, input stage 3)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.encoder.build()
        self.adapter = config.adapter.build()
        trained = config.rereader is not None and config.rereader.units > 0
        self.rereader = config.rereader.build() if config.rereader and trained else None
        self.prompt = new_prompt(config)
        self.state_head = StateHead(config.head_size, config.state_middle, config.state_memory)
        self.decoder = SpeechDecoder(config.decoder)
        self.codec = config.codec.build()

    def hear(self, features: torch.Tensor, encoder: Any, adapter: Any) -> tuple[torch.Tensor, Any, Any]:
        """A chunk of features [B, F, mels] -> (the adapter's output [B, n, ...], encoder state, adapter state)."""
        frames, encoder = self.encoder.step(features, encoder)
        output, adapter = self.adapter.step(frames, adapter)
        return output, encoder, adapter

    def reread(self, features: torch.Tensor, heard: torch.Tensor, first_pass: CTCPrefixBeam | None = None) -> str:
        """Second pass: a user turn's features [1, N, mels] and adapter output [1, n, U + F] -> the transcript by both passes.

        `first_pass`: the first pass's beam over the turn, so that it is not searched again.
        """
        assert self.rereader is not None and isinstance(self.adapter, CTCAdapter)
        config, units = self.rereader.config, self.adapter.units
        log_p = self.rereader.read(features, heard)[0]
        log_ps = (log_p, heard[0, :, : config.units].float().log_softmax(-1))
        draft = units.decode(self.adapter.decode(log_ps, config.weights, config.beam, first_pass))
        if not config.attention or not draft:  # nothing was said: the decoder would make words up
            return draft
        hypotheses = self.rereader.hypotheses(features, draft)
        if not hypotheses:
            return draft
        spelled = [units.encode(text_normalizer.normalize(each.text)) for each in hypotheses]
        scores = config.attention * torch.tensor([each.log_p for each in hypotheses])
        scores += (1 - config.attention) * ctc_log_probabilities(log_p, spelled)
        return with_mark(hypotheses[int(scores.argmax())].text, draft)

    @torch.no_grad()
    def counts(self) -> dict[str, int]:
        """The number of parameters of each module."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**parts, "prompt": self.prompt.numel()}


def new_prompt(config: ModelConfig) -> nn.Parameter:
    """Randomly initialized prompt vectors [P, D]."""
    return nn.Parameter(torch.randn(config.prompts, config.llm_size) * 0.02)
