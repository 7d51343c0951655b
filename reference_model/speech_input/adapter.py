"""The adapter: encoder frames -> vectors in the LLM's embedding space, at a fraction of the rate (paper: speech input)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from fobench.errors import FobenchError


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """Sizes of an `Adapter`. Output i sees `kernel` frames, the newest of them number stride i + kernel - 1 - left."""

    encoder_size: int
    llm_size: int
    kernel: int = 5  # encoder frames
    stride: int = 2  # encoder frames an output
    hidden: int | None = None  # None: twice the encoder's size
    left: int | None = None  # frames from before a step. None: kernel - stride, so that the newest frame is always used
    norm_eps: float = 1e-3

    def __post_init__(self) -> None:
        if not max(0, self.kernel - self.stride) <= self.context <= self.kernel - 1:
            raise FobenchError(
                f"Adapter: left={self.left} does not fit kernel={self.kernel} and stride={self.stride}; "
                f"it is at least kernel - stride = {self.kernel - self.stride} and at most kernel - 1 = {self.kernel - 1}."
            )

    @property
    def context(self) -> int:
        """Frames from before a step that it needs."""
        return self.kernel - self.stride if self.left is None else self.left

    @property
    def newest(self) -> int:
        """The last of the first `stride` frames that output 0 sees."""
        return self.kernel - 1 - self.context

    @property
    def evidence(self) -> int:
        """Size of what the state head learns from the sound itself: nothing, the LLM hears it all."""
        return 0

    def build(self) -> Adapter:
        return Adapter(self)


@dataclass(frozen=True, slots=True)
class AdapterState:
    """`frames` [B, context, encoder_size]: the last encoder frames, zeros before a stream."""

    frames: torch.Tensor


class Embedder(Protocol):
    """What a reader needs of a backbone (see `fobench.api.components.Backbone`)."""

    def embed(self, ids: torch.Tensor) -> torch.Tensor: ...

    def encode(self, text: str) -> list[int]: ...


class AdapterReader(Protocol):
    """What an adapter's output in one user turn becomes for the LLM."""

    @property
    def text(self) -> str | None:
        """What has been understood so far; None: only the LLM knows."""

    def push(self, heard: torch.Tensor) -> None:
        """The next output of the adapter [1, n, ...]."""

    def rows(self, backbone: Embedder, following: bool) -> tuple[int, torch.Tensor]:
        """(how many of the rows given so far are taken back, new ones [1, n, D]). `following`: it goes on with an earlier turn."""

    def evidence(self) -> torch.Tensor:
        """What the state head is told beside the LLM's hidden state [E]."""


@dataclass(slots=True)
class EmbeddingReader:
    """Of an adapter whose outputs are rows: all of them, in order."""

    waiting: list[torch.Tensor] = field(default_factory=list)
    text: None = None

    def push(self, heard: torch.Tensor) -> None:
        self.waiting.append(heard)

    def rows(self, backbone: Embedder, following: bool) -> tuple[int, torch.Tensor]:
        new, self.waiting = torch.cat(self.waiting, 1), []
        return 0, new

    def evidence(self) -> torch.Tensor:
        return torch.zeros(0)


class Adapter(nn.Module):
    """A causal strided convolution, LayerNorm, GELU and a projection."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        hidden = config.hidden or 2 * config.encoder_size
        self.config = config
        self.conv = nn.Conv1d(config.encoder_size, hidden, config.kernel, config.stride)
        self.norm = nn.LayerNorm(hidden, eps=config.norm_eps)
        self.project = nn.Linear(hidden, config.llm_size)

    def reader(self) -> EmbeddingReader:
        """What reads its output in one user turn."""
        return EmbeddingReader()

    def begin(self, batch: int) -> AdapterState:
        """New streams."""
        return AdapterState(self.conv.weight.new_zeros(batch, self.config.context, self.config.encoder_size))

    def step(self, frames: torch.Tensor, state: AdapterState) -> tuple[torch.Tensor, AdapterState]:
        """Frames [B, T, encoder_size] -> (vectors [B, T / stride, llm_size], the next state).

        Raises `ValueError` where T is no multiple of the stride.
        """
        if frames.shape[1] % self.config.stride:
            raise ValueError(f"{frames.shape[1]} frames are no multiple of the adapter's stride, {self.config.stride}.")
        frames = torch.cat([state.frames, frames.to(state.frames.dtype)], 1)  # [B, context + T, encoder_size]
        return self._adapt(frames), AdapterState(frames[:, frames.shape[1] - self.config.context :])

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole recordings: frames [B, T, encoder_size], mask [B, T] bool -> (vectors [B, T / stride, llm_size], mask).

        Masked frames count as zeros. A vector is valid where the newest frame that it sees is.
        """
        if mask is None:
            mask = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        frames = frames.masked_fill(~mask[..., None], 0.0)
        out = self._adapt(functional.pad(frames, (0, 0, self.config.context, 0)))
        return out, mask[:, self.config.newest :: self.config.stride]

    def _adapt(self, frames: torch.Tensor) -> torch.Tensor:
        hidden = self.conv(frames.transpose(1, 2)).transpose(1, 2)  # [B, T / stride, hidden]
        return self.project(functional.gelu(self.norm(hidden)))
