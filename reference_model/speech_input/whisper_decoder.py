"""The text decoder of Whisper tiny.en: log-probabilities of a transcript's tokens, given the frames of its encoder.

Its parameters have the names of OpenAI's `decoder.*`. Attention to the audio is computed once per recording (`listen`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from reference_model.packed_linear import PackedLinear
from reference_model.speech_input.streaming_encoder import Cache, attend, heads
from reference_model.speech_input.whisper_encoder import WhisperAttention, WhisperBlock, WhisperConfig


class CrossAttention(WhisperAttention):
    """Attention of text to audio."""

    def __init__(self, size: int, count: int) -> None:
        super().__init__(size, count)
        self._query, self._key_value = PackedLinear(self.query), PackedLinear(self.key, self.value)

    def listen(self, frames: torch.Tensor) -> Cache:
        """The keys and values of encoder frames [B, T, D]."""
        key, value = (heads(side, self.heads) for side in self._key_value(frames))
        return key, value

    def look(self, x: torch.Tensor, audio: Cache) -> torch.Tensor:
        """x [B, n, D] attends to all frames of `audio` -> [B, n, D]."""
        (query,) = self._query(x)
        seen = torch.ones(1, 1, 1, audio[0].shape[2], dtype=torch.bool, device=x.device)
        return self._out(attend(heads(query, self.heads), *audio, seen))[0]


class WhisperTextBlock(WhisperBlock):
    """A layer of the encoder, with attention to the audio after its self-attention."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.cross_attn = CrossAttention(config.size, config.heads)
        self.cross_attn_ln = nn.LayerNorm(config.size)

    def decode(
        self, x: torch.Tensor, seen: torch.Tensor, past: Cache | None, audio: Cache
    ) -> tuple[torch.Tensor, Cache]:
        """As `WhisperAttention.forward`, with the audio's keys and values."""
        attended, cache = self.attn(self.attn_ln(x), seen, past)
        x = x + attended
        x = x + self.cross_attn.look(self.cross_attn_ln(x), audio)
        (inner,) = self._expand(self.mlp_ln(x))
        return x + self._contract(functional.gelu(inner))[0], cache


class WhisperDecoder(nn.Module):
    """Tokens [1, n] -> logits [1, n, V] of the tokens after each.

    `positions`: the most tokens of a text, its opening included.
    """

    def __init__(self, config: WhisperConfig, vocabulary: int, positions: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, config.size)
        self.positional_embedding = nn.Parameter(torch.zeros(positions, config.size))
        layers = [WhisperTextBlock(config) for _ in range(config.layers)]
        self.blocks, self._layers = nn.ModuleList(layers), tuple(layers)
        self.ln = nn.LayerNorm(config.size)
        spell = nn.Linear(config.size, vocabulary, bias=False)
        spell.weight = self.token_embedding.weight
        self._spell = PackedLinear(spell)

    @property
    def positions(self) -> int:
        return len(self.positional_embedding)

    def listen(self, frames: torch.Tensor) -> list[Cache]:
        """What every layer attends to of the encoder's frames [1, T, D]."""
        return [block.cross_attn.listen(frames) for block in self._layers]

    def forward(
        self, ids: torch.Tensor, audio: Sequence[Cache], pasts: Sequence[Cache] | None = None
    ) -> tuple[torch.Tensor, list[Cache]]:
        """Tokens [1, n] after those of `pasts` -> (logits [1, n, V], keys and values of every layer, with the past's)."""
        before = pasts[0][0].shape[2] if pasts else 0
        count = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[before : before + count]
        seen = torch.ones(count, before + count, dtype=torch.bool, device=x.device).tril(before)[None, None]
        caches = []
        for i, block in enumerate(self._layers):
            x, cache = block.decode(x, seen, pasts[i] if pasts else None, audio[i])
            caches.append(cache)
        return self._spell(self.ln(x))[0], caches
