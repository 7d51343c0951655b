"""A second pass over a user turn that has ended: all of it, read again with Whisper's own encoder, which then sees it whole.

While the user speaks, the streaming encoder hears without a look ahead: enough to tell when a turn ends, but words are mistaken
that what follows would make clear. Once the turn is over, a frozen Whisper encoder reads it in full context, and a network spells
what it hears (two passes, arXiv 1908.10992); or, if it is given the adapter's features as well, corrects what the adapter spelt
(cascaded encoders, arXiv 2010.14606). One that spells anew has mistakes of its own: both hearings have a say in what is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.speech_input.lora import LoRA
from reference_model.speech_input.whisper_encoder import WhisperBlock, WhisperConfig, WhisperStreamingEncoder
from reference_model.speech_input.whisper_weights import full_context, ranged


@dataclass(frozen=True, slots=True)
class SecondPassConfig:
    """Sizes. An output sees `kernel` of the encoder's frames around its own `stride`, and through `layers` all outputs."""

    units: int = 0  # of the adapter's writing, the blank among them; 0: not known yet
    features: int = 0  # size of the adapter's own, if it corrects; 0: it spells anew
    encoder_size: int = 384
    encoder_layers: int = 4
    rank: int = 0  # of the changes to the encoder's linear maps; 0: it stays as it is
    size: int = 288
    heads: int = 6
    layers: int = 3
    kernel: int = 6
    stride: int = 2
    dropout: float = 0.1
    beam: BeamSearch | None = None  # how it is read; None: as the adapter is
    trust: float = 0.5  # in a network that spells anew; the rest is in what the adapter heard

    def __post_init__(self) -> None:
        if not 0 <= self.trust <= 1:
            raise FobenchError(f"A second pass's trust is a share, from 0 to 1, not {self.trust}.")
        if self.rank < 0:
            raise FobenchError(f"A second pass's rank is 0, for no change to the encoder, or more, not {self.rank}.")

    @property
    def weights(self) -> tuple[float, float]:
        """Of what this network and what the adapter heard; one that corrects has taken account of the adapter already."""
        return (1.0, 0.0) if self.features else (self.trust, 1.0 - self.trust)

    def build(self) -> SecondPass:
        return SecondPass(self)


class SecondPass(nn.Module):
    """Frames of the frozen encoder [B, T, 384] -> logits of units [B, n, U], n = T / stride.

    The encoder is no part of its weights, changes of low rank to it are.

    One that corrects is given the adapter's features [B, n, F], too, and its output is to be added to the adapter's logits.
    """

    def __init__(self, config: SecondPassConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv1d(config.encoder_size, config.size, config.kernel, config.stride)
        self.first = nn.Linear(config.features, config.size) if config.features else None
        self.norm = nn.LayerNorm(config.size)
        block = WhisperConfig(config.size, config.layers, config.heads, dropout=config.dropout)
        self.blocks = nn.ModuleList(WhisperBlock(block) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.spell = nn.Linear(config.size, config.units)
        self.change = LoRA(config.encoder_size, config.encoder_layers, config.rank) if config.rank else None
        self._encoder: list[WhisperStreamingEncoder] = []  # in a list, so that it is no part of this module

    def forward(self, frames: Tensor, mask: Tensor, heard: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames [B, T, 384], mask [B, T], where it corrects the adapter's features [B, n, F] -> (logits [B, n, U], mask [B, n])."""
        config, around = self.config, self.config.kernel - self.config.stride
        frames = functional.pad(frames.masked_fill(~mask[..., None], 0.0), (0, 0, around // 2, around - around // 2))
        x = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        if self.first is not None:
            assert heard is not None
            x = x + self.first(heard.to(x.dtype))
        x = self.dropout(functional.gelu(self.norm(x)))
        valid = mask[:, config.stride - 1 :: config.stride]
        for block in self.blocks:
            x, _ = block(x, valid[:, None, None], None)
        return self.spell(x), valid

    @torch.no_grad()
    def read(self, features: Tensor, heard: Tensor) -> Tensor:
        """A whole turn -> natural logs of the units' chances [1, n, U].

        Log-mel features [1, N, mels], of whole chunks, and all of the adapter's output [1, n, U + F] (`SpellingAdapter.step`).
        """
        device, dtype = self.conv.weight.device, self.conv.weight.dtype
        frames, mask = self.encoder().to(device)(ranged(features.to(device)))
        frames = frames.to(dtype)
        if not self.config.features:
            return self(frames, mask)[0].float().log_softmax(-1)
        logits, own = heard.to(device, dtype).split([self.config.units, self.config.features], -1)
        return (logits + self(frames, mask, own)[0]).float().log_softmax(-1)

    def encoder(self) -> WhisperStreamingEncoder:
        """Whisper tiny.en's, from the pinned model file, once it is needed, with the changes that were learnt."""
        if not self._encoder:
            encoder = full_context()
            if self.change is not None:
                self.change.merge(encoder)
            self._encoder.append(encoder)
        return self._encoder[0]
