"""HiFi-GAN (arXiv 2010.05646, section 2.2): a waveform generator, from frames of features or codec embeddings.

Transposed convolutions upsample in stages, each followed by residual blocks of several kernel sizes whose outputs are averaged.
Its lookahead follows from `Generator.layers`, for exact streaming (`reference_model.codec.exact_streaming`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from fobench.errors import FobenchError
from reference_model.codec.exact_streaming import ConvSpec, same

OUTER_KERNEL = 7  # of the first and the last convolution
OUTER = same(OUTER_KERNEL // 2)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """Sizes of a generator: one entry of `rates` and `kernels` per stage, one of `block_kernels` and `dilations` per block."""

    inputs: int  # channels of a frame
    channels: int  # after the first convolution; halved by each stage
    rates: tuple[int, ...]  # upsampling of each stage
    kernels: tuple[int, ...]  # of the transposed convolutions
    block_kernels: tuple[int, ...]
    dilations: tuple[tuple[int, ...], ...]
    block: Literal[1, 2] = 1  # residual blocks with a second, undilated convolution (1), or without (2)
    slope: float = 0.1  # of the leaky ReLUs
    last_slope: float = 0.1  # of the leaky ReLU before the last convolution
    last_bias: bool = True
    global_size: int | None = None  # a vector of this size is added in stages with as many channels

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.kernels) or len(self.block_kernels) != len(self.dilations):
            raise FobenchError("A generator needs one kernel for each rate, and dilations for each block kernel.")
        if self.channels % 2 ** len(self.rates):
            raise FobenchError(f"{self.channels} channels cannot be halved by each of {len(self.rates)} stages.")
        odd = [(k, r) for k, r in zip(self.kernels, self.rates, strict=True) if k < r or (k - r) % 2]
        if odd or not all(k % 2 for k in self.block_kernels):
            raise FobenchError(
                f"Kernels must exceed their rates by even numbers, and block kernels be odd: {odd or self}."
            )

    @property
    def hop(self) -> int:
        """Samples per input frame."""
        return math.prod(self.rates)


PIPER_GENERATOR = GeneratorConfig(  # the decoder of Piper's medium voices: 22,050 Hz, 86.13 frames/s, 1.66 M parameters
    inputs=192,
    channels=256,
    rates=(8, 8, 4),
    kernels=(16, 16, 8),
    block_kernels=(3, 5, 7),
    dilations=((1, 2), (2, 6), (3, 12)),
    block=2,
    last_slope=0.01,
    last_bias=False,
)


class ChannelsLastConv1d(nn.Conv1d):
    """`nn.Conv1d` whose memory layout on a CPU is [B, F, C].

    It is computed over [B, C, 1, F] in channels-last memory, in which oneDNN's kernels need no reordering: nearly twice as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, D, G]"""
        if not x.is_cpu:
            return super().forward(x)
        sizes = (1, self.stride[0]), (0, int(self.padding[0])), (1, self.dilation[0])
        return functional.conv2d(_channels_last(x), self.weight[:, :, None], self.bias, *sizes)[:, :, 0]


class ChannelsLastConvTranspose1d(nn.ConvTranspose1d):
    """`nn.ConvTranspose1d`, as `ChannelsLastConv1d`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[B, C, F] -> [B, D, G]"""
        if not x.is_cpu or output_size:
            return super().forward(x, output_size)
        sizes = (1, self.stride[0]), (0, int(self.padding[0]))
        return functional.conv_transpose2d(_channels_last(x), self.weight[:, :, None], self.bias, *sizes)[:, :, 0]


def _channels_last(x: Tensor) -> Tensor:
    """[B, C, F] -> [B, C, 1, F], with the channels innermost in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)[:, :, None]


class ResidualBlock(nn.Module):
    """For each dilation: x + plain(lrelu(dilated(lrelu(x)))), or x + dilated(lrelu(x)) where there is no `plain`."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, kind: int = 1, slope: float = 0.1
    ) -> None:
        super().__init__()
        self.slope = slope
        self.dilated = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)
        self.plain = nn.ModuleList(same_conv(channels, kernel) for _ in dilations) if kind == 1 else None
        further = (kernel - 1) // 2 * len(dilations) if kind == 1 else 0
        self.radius = (kernel - 1) // 2 * sum(dilations) + further  # frames of the receptive field on each side

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, C, F]"""
        for index, dilated in enumerate(self.dilated):
            y = dilated(functional.leaky_relu(x, self.slope))
            if self.plain is not None:
                y = self.plain[index](functional.leaky_relu(y, self.slope))
            x = y.add_(x)
        return x


class UpsampleBlock(nn.Module):
    """A transposed convolution, and the average of the residual blocks after it."""

    def __init__(self, config: GeneratorConfig, index: int) -> None:
        super().__init__()
        channels, rate, kernel = config.channels >> index + 1, config.rates[index], config.kernels[index]
        self.slope = config.slope
        self.takes_global = config.global_size == channels
        self.up = ChannelsLastConvTranspose1d(2 * channels, channels, kernel, rate, padding=(kernel - rate) // 2)
        self.blocks: Any = nn.ModuleList(  # of ResidualBlock
            ResidualBlock(channels, kernel, dilations, kind=config.block, slope=config.slope)
            for kernel, dilations in zip(config.block_kernels, config.dilations, strict=True)
        )

    def forward(self, x: Tensor, voice: Tensor | None = None) -> Tensor:
        """[B, 2C, F] -> [B, C, F * rate]; `voice` [B, C] is added to every frame if the stage takes one."""
        x = self.up(functional.leaky_relu(x, self.slope))
        total = self.blocks[0](x)
        for block in list(self.blocks)[1:]:
            total = total + block(x)
        x = total / len(self.blocks)
        return x + voice[..., None] if self.takes_global and voice is not None else x

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        up = self.up
        raised = ConvSpec(up.kernel_size[0], up.stride[0], padding=int(up.padding[0]), transposed=True)
        return raised, same(max(block.radius for block in self.blocks))


class Generator(nn.Module):
    """Frames [B, C, F] -> waveform [B, F * hop] in (-1, 1). Parameters are plain; `weight_normed` is for training."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        stages = len(config.rates)
        self.pre = ChannelsLastConv1d(config.inputs, config.channels, OUTER_KERNEL, padding=OUTER_KERNEL // 2)
        self.stages: Any = nn.ModuleList(UpsampleBlock(config, index) for index in range(stages))
        self.post = ChannelsLastConv1d(
            config.channels >> stages, 1, OUTER_KERNEL, padding=OUTER_KERNEL // 2, bias=config.last_bias
        )

    def forward(self, x: Tensor, voice: Tensor | None = None) -> Tensor:
        """`voice`: [B, global_size], if the generator has one."""
        x = self.pre(x)
        for stage in self.stages:
            x = stage(x, voice)
        return self.waveform(x)

    def waveform(self, x: Tensor) -> Tensor:
        """The last stage's output [B, C, T] -> waveform [B, T]."""
        return torch.tanh(self.post(functional.leaky_relu(x, self.config.last_slope)))[:, 0]

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        """The layers, for exact streaming."""
        return OUTER, *(layer for stage in self.stages for layer in stage.layers), OUTER


def same_conv(channels: int, kernel: int, dilation: int = 1) -> ChannelsLastConv1d:
    """A convolution that keeps the number of channels and frames; the kernel must be odd."""
    return ChannelsLastConv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) // 2 * dilation)


def weight_normed(module: M) -> M:
    """Reparametrize every convolution in the module, in place: weight = g * v / |v|, the norm over all axes but the first."""
    for conv in list(_convolutions(module)):
        weight_norm(conv)
    return module


def fused(module: M) -> M:
    """Undo `weight_normed`, in place: the same function with plain weights."""
    for conv in _convolutions(module):
        if parametrize.is_parametrized(conv, "weight"):
            parametrize.remove_parametrizations(conv, "weight")
    return module


def _convolutions(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if isinstance(part, nn.Conv1d | nn.ConvTranspose1d))
