"""A chunk-wise streaming version of Whisper's encoder, at 50 Hz, that can be initialized with Whisper's weights.

Its two convolutions are delayed by one mel frame (10 ms), so that 16 of them give exactly 8 frames without lookahead; attention is
limited to a chunk and a number of left chunks. The parameters have the names of OpenAI's `encoder.*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.packed_linear import PackedConv1d, PackedLinear
from reference_model.speech_input.log_mel import WhisperMel
from reference_model.speech_input.streaming_encoder import Cache, Carried, SpeechEncoder, attend, extend, heads


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    """Sizes of a `WhisperStreamingEncoder`; the defaults are those of Whisper tiny."""

    size: int = 384
    layers: int = 4
    heads: int = 6
    mels: int = 80
    chunk: int = 8  # frames: 160 ms
    left_chunks: int = 16  # chunks of left context
    positions: int = 1500  # rows of the position table, 30 s; positions wrap
    dropout: float = 0.0

    @property
    def left(self) -> int:
        """Frames of left context."""
        return self.chunk * self.left_chunks

    def build(self) -> WhisperStreamingEncoder:
        return WhisperStreamingEncoder(self)


class WhisperAttention(nn.Module):
    """Multi-head attention; keys have no bias."""

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        self.heads = count
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)
        self._query_key_value, self._out = PackedLinear(self.query, self.key, self.value), PackedLinear(self.out)

    def forward(self, x: torch.Tensor, seen: torch.Tensor, past: Cache | None) -> tuple[torch.Tensor, Cache]:
        """x [B, T, D], seen [B, 1, T, K] (axes may be 1) -> (out [B, T, D], keys and values with the past's)."""
        query, key, value = (heads(side, self.heads) for side in self._query_key_value(x))
        key, value = extend(past, key, value)
        return self._out(attend(query, key, value, seen))[0], (key, value)


class WhisperBlock(nn.Module):
    """A pre-norm transformer layer with GELU."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        size = config.size
        self.attn = WhisperAttention(size, config.heads)
        self.attn_ln = nn.LayerNorm(size)
        expand, contract = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.mlp = nn.Sequential(expand, nn.GELU(), contract)
        self._expand, self._contract = PackedLinear(expand), PackedLinear(contract)
        self.mlp_ln = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, seen: torch.Tensor, past: Cache | None) -> tuple[torch.Tensor, Cache]:
        """As `WhisperAttention.forward`."""
        attended, cache = self.attn(self.attn_ln(x), seen, past)
        x = x + self.dropout(attended)
        (inner,) = self._expand(self.mlp_ln(x))
        return x + self.dropout(self._contract(functional.gelu(inner))[0]), cache


class WhisperStreamingEncoder(SpeechEncoder):
    """Whisper's encoder, streaming. Frame j sees features 2 j - 3 ... 2 j + 1 (and more through attention).

    `begin` without `before` begins after one frame of silence; as in Whisper, the input of the second convolution is padded
    with zeros.
    """

    subsampling = 2
    context = 3
    positional_embedding: torch.Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.front = WhisperMel(config.mels)
        self.conv1 = nn.Conv1d(config.mels, config.size, 3)
        self.conv2 = nn.Conv1d(config.size, config.size, 3, 2)
        self._conv1, self._conv2 = PackedConv1d(self.conv1), PackedConv1d(self.conv2)
        self.register_buffer("positional_embedding", sinusoids(config.positions, config.size), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(WhisperBlock(config) for _ in range(config.layers))
        self.ln_post = nn.LayerNorm(config.size)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv1.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.positional_embedding.device

    def load_whisper(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load the weights of OpenAI's Whisper: the state dict of its encoder, or of the complete model.

        Layers beyond Whisper's own are initialized as identities. Raises `FobenchError` if a name or a shape differs.
        """
        own = {key.removeprefix("encoder."): value for key, value in weights.items() if not key.startswith("decoder.")}
        own.pop("positional_embedding", None)  # equal to `sinusoids`
        own |= self._identities(
            1 + max((int(key.split(".")[1]) for key in own if key.startswith("blocks.")), default=-1)
        )
        try:
            self.load_state_dict(own, strict=True)
        except RuntimeError as error:  # torch lists the names and shapes
            raise FobenchError(f"Whisper's weights do not fit {self.config}: {' '.join(str(error).split())}") from error

    def _identities(self, first: int) -> dict[str, torch.Tensor]:
        """The parameters of the layers from `first` on, with zero output projections."""
        outs = ("attn.out", "mlp.2")
        blocks = {f"blocks.{i}.": block for i, block in enumerate(self.blocks) if i >= first}
        return {
            prefix + name: torch.zeros_like(value) if name.rpartition(".")[0] in outs else value
            for prefix, block in blocks.items()
            for name, value in block.state_dict().items()
        }

    def _attend(
        self, x: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, pasts: Sequence[Cache | None]
    ) -> tuple[torch.Tensor, list[Cache]]:
        """As `SpeechEncoder._attend`; `positions` [B or 1, T] are those of the frames."""
        x = self.dropout(x + self.positional_embedding[positions % self.config.positions])
        caches = []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, cache = block(x, seen, past)
            caches.append(cache)
        return self.ln_post(x), caches

    def _convolve(self, features: torch.Tensor, carried: Carried) -> tuple[torch.Tensor, Carried]:
        features = torch.cat([carried[0], features], 1)  # [B, 2 + N, mels]
        hidden = torch.cat([carried[1], self._first(features)], 1)  # [B, 1 + N, D]
        x = functional.gelu(self._conv2(hidden)[0])
        return x, (features[:, -2:], hidden[:, -1:])

    def _first(self, features: torch.Tensor) -> torch.Tensor:
        """The first convolution: features [B, 2 + N, mels] -> [B, N, D]."""
        return functional.gelu(self._conv1(features.to(self.conv1.weight.dtype))[0])

    def _before(self, batch: int, before: torch.Tensor | None) -> Carried:
        """The inputs of both convolutions before a stream: features [B, 2, mels], hidden frames [B, 1, D]."""
        if before is not None:
            before = before.to(self.device, torch.float32)
            return before[:, 1:], self._first(before)
        features = torch.zeros(batch, 2, self.config.mels, device=self.device)
        features[:, 1] = self.front.silence
        return features, self.conv1.weight.new_zeros(batch, 1, self.size)


def sinusoids(length: int, size: int) -> torch.Tensor:
    """Whisper's position table [length, size]: sines in the first half of the channels, cosines in the second."""
    half = size // 2
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) / (half - 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
