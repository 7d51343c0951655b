"""The adapter: encoder frames -> vectors in the LLM's embedding space, downsampled (paper: speech input)."""

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
    stride: int = 2  # encoder frames per output
    hidden: int | None = None  # None: twice the encoder's size
    left: int | None = (
        None  # past frames that a step needs. None: kernel - stride, so that the newest frame is always used
    )
    norm_eps: float = 1e-3

    def __post_init__(self) -> None:
        if not max(0, self.kernel - self.stride) <= self.context <= self.kernel - 1:
            raise FobenchError(
                f"Adapter: left={self.left} does not fit kernel={self.kernel} and stride={self.stride}; "
                f"it is at least kernel - stride = {self.kernel - self.stride} and at most kernel - 1 = {self.kernel - 1}."
            )

    @property
    def context(self) -> int:
        """Past frames that a step needs."""
        return self.kernel - self.stride if self.left is None else self.left

    @property
    def newest(self) -> int:
        """The newest of the first `stride` frames that output 0 sees."""
        return self.kernel - 1 - self.context

    @property
    def evidence(self) -> int:
        """Number of acoustic features for the state head: 0, the LLM's hidden state includes them."""
        return 0

    def build(self) -> Adapter:
        return Adapter(self)


@dataclass(frozen=True, slots=True)
class AdapterState:
    """`frames` [B, context, encoder_size]: the last encoder frames, zeros before a stream."""

    frames: torch.Tensor


class Embedder(Protocol):
    """The part of `fobench.api.components.Backbone` that a reader uses."""

    def embed(self, ids: torch.Tensor) -> torch.Tensor: ...

    def encode(self, text: str) -> list[int]: ...


class AdapterReader(Protocol):
    """Turns the adapter's outputs of one user turn into LLM inputs."""

    @property
    def text(self) -> str | None:
        """The transcript so far; None: the adapter has none."""

    def push(self, output: torch.Tensor) -> None:
        """Append the adapter's next output [1, n, ...]."""

    def rows(self, backbone: Embedder, following: bool) -> tuple[int, torch.Tensor]:
        """(number of earlier rows to remove from the end, new rows [1, n, D]). `following`: the turn continues an earlier one."""

    def evidence(self) -> torch.Tensor:
        """Acoustic features for the state head [E], beside the LLM's hidden state."""


@dataclass(slots=True)
class EmbeddingReader:
    """The reader of an adapter whose outputs are LLM inputs."""

    waiting: list[torch.Tensor] = field(default_factory=list)
    text: None = None

    def push(self, output: torch.Tensor) -> None:
        self.waiting.append(output)

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
        """The reader of one user turn."""
        return EmbeddingReader()

    def begin(self, batch: int) -> AdapterState:
        """The state of `batch` new streams."""
        return AdapterState(self.conv.weight.new_zeros(batch, self.config.context, self.config.encoder_size))

    def step(self, frames: torch.Tensor, state: AdapterState) -> tuple[torch.Tensor, AdapterState]:
        """Frames [B, T, encoder_size] -> (vectors [B, T / stride, llm_size], the next state).

        Raises `ValueError` if T is not a multiple of the stride.
        """
        if frames.shape[1] % self.config.stride:
            raise ValueError(
                f"{frames.shape[1]} frames are not a multiple of the adapter's stride, {self.config.stride}."
            )
        frames = torch.cat([state.frames, frames.to(state.frames.dtype)], 1)  # [B, context + T, encoder_size]
        return self._adapt(frames), AdapterState(frames[:, frames.shape[1] - self.config.context :])

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole recordings: frames [B, T, encoder_size], mask [B, T] bool -> (vectors [B, T / stride, llm_size], mask).

        Masked frames count as zeros. A vector is valid if the newest frame that it sees is.
        """
        if mask is None:
            mask = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        frames = frames.masked_fill(~mask[..., None], 0.0)
        out = self._adapt(functional.pad(frames, (0, 0, self.config.context, 0)))
        return out, mask[:, self.config.newest :: self.config.stride]

    def _adapt(self, frames: torch.Tensor) -> torch.Tensor:
        hidden = self.conv(frames.transpose(1, 2)).transpose(1, 2)  # [B, T / stride, hidden]
        return self.project(functional.gelu(self.norm(hidden)))
