"""Exact streaming of convolution stacks with lookahead, by receptive fields and windowed evaluation.

A stack without state but its convolutions is described by the list of its `ConvSpec`s. They determine how many outputs depend on
the inputs so far alone (`settled`), and which inputs an output depends on (`reads`). A `Windowed` function computes, at each step,
the outputs that have become settled, on a window of all inputs that they depend on: streamed equals offline. The zero padding of
each layer has an effect at the start and end of the stream only, because window edges are outside the emitted outputs' fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """One convolution along time: output o reads inputs o * stride - padding + (0 ... kernel - 1) * dilation.

    `transposed`: input i adds to outputs i * stride - padding + (0 ... kernel - 1) * dilation instead. Pointwise operations need
    no layer; parallel branches and skip connections are one layer, the branch of the largest receptive field.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    transposed: bool = False

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation


def same(radius: int) -> ConvSpec:
    """A layer with a receptive field of `radius` frames on both sides."""
    return ConvSpec(2 * radius + 1, padding=radius)


def rate(layers: Sequence[ConvSpec]) -> Fraction:
    """Output frames per input frame."""
    ratio = Fraction(1)
    for layer in layers:
        ratio *= Fraction(layer.stride) if layer.transposed else Fraction(1, layer.stride)
    return ratio


def settled(layers: Sequence[ConvSpec], frames: int) -> int:
    """The number of outputs that depend on the first `frames` inputs alone."""
    for layer in layers:
        if layer.transposed:
            frames = max(0, frames * layer.stride - layer.padding)
        else:
            frames = max(0, (frames - 1 + layer.padding - layer.reach) // layer.stride + 1)
    return frames


def reads(layers: Sequence[ConvSpec], first: int, last: int) -> tuple[int, int]:
    """The first and last input that outputs `first` to `last` depend on; below 0 is padding."""
    for layer in reversed(layers):
        if layer.transposed:
            first = -((layer.reach - layer.padding - first) // layer.stride)
            last = (last + layer.padding) // layer.stride
        else:
            first = first * layer.stride - layer.padding
            last = last * layer.stride - layer.padding + layer.reach
    return first, last


def receptive_field(layers: Sequence[ConvSpec]) -> tuple[int, int]:
    """(left, right): the maximum number of input frames that an output depends on before and after its own input frame."""
    ratio = rate(layers)
    outputs = range(ratio.numerator)  # from there on the pattern repeats
    spans = [(math.floor(o / ratio), *reads(layers, o, o)) for o in outputs]
    return max(at - first for at, first, _ in spans), max(last - at for at, _, last in spans)


@dataclass(frozen=True, slots=True)
class WindowState:
    """The state of a stream: inputs [..., W] that are still needed, the index of the first, the number of outputs so far."""

    inputs: Tensor
    start: int
    emitted: int

    @property
    def end(self) -> int:
        """The number of inputs so far."""
        return self.start + self.inputs.shape[-1]


class Windowed:
    """Windowed evaluation of a function of complete streams: the outputs of `step` are those of the function.

    `function`: inputs [..., F] -> outputs [..., F * rate], without state; it is zero-padded layer by layer, as in `layers`.
    `empty`: the same inputs -> outputs of length 0.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], layers: Sequence[ConvSpec], empty: Callable[[Tensor], Tensor]
    ) -> None:
        self.function, self.layers, self.empty = function, tuple(layers), empty
        self.rate = rate(self.layers)
        self.grid = self.rate.denominator  # windows are multiples of it, so that outputs are aligned

    def step(self, inputs: Tensor, state: WindowState | None = None, last: bool = False) -> tuple[Tensor, WindowState]:
        """The next inputs [..., F], F >= 0 -> (the outputs [..., G] that become settled, the next state).

        `last`: the end of the stream, with all remaining outputs. Raises ValueError if its length is not a multiple of `grid`.
        """
        state = state or WindowState(inputs[..., :0], 0, 0)
        held = torch.cat([state.inputs, inputs], -1)
        end = state.start + held.shape[-1]
        if last and end % self.grid:
            raise ValueError(f"A stream of {end} frames is not a multiple of {self.grid}: pad it first.")
        ready = math.floor(end * self.rate)
        ready = ready if last else min(settled(self.layers, end), ready)
        if ready <= state.emitted:
            return self.empty(inputs), WindowState(held, state.start, state.emitted)
        outputs = self.function(functional.pad(held, (0, -held.shape[-1] % self.grid)))
        offset = int(state.start * self.rate)
        start = min(end, self._start(ready))
        next_state = WindowState(held[..., start - state.start :], start, ready)
        return outputs[..., state.emitted - offset : ready - offset], next_state

    def _start(self, output: int) -> int:
        """The first input of a window for `output`."""
        return max(0, reads(self.layers, output, output)[0]) // self.grid * self.grid


class WindowedChain:
    """Windowed evaluation of a chain of functions, each with a window of its own.

    The windows are as wide as the fields of the single parts. Those of upsampling convolutions are narrow where the rate is high,
    and so is what is computed again at every step: much less than by one window over the complete chain.
    """

    def __init__(self, parts: Sequence[Windowed]) -> None:
        self.parts = tuple(parts)

    def step(
        self, inputs: Tensor, states: tuple[WindowState, ...] | None = None, last: bool = False
    ) -> tuple[Tensor, tuple[WindowState, ...]]:
        """As `Windowed.step`, with a state for each part."""
        following = []
        for part, state in zip(self.parts, states or (None,) * len(self.parts), strict=True):
            inputs, next_state = part.step(inputs, state, last)
            following.append(next_state)
        return inputs, tuple(following)
