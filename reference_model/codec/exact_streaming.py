"""Exact streaming of convolution stacks that look ahead.

A stack without any memory but its convolutions is told as the list of its `ConvSpec`s. From it follow how many outputs a
beginning of the input settles (`settled`) and which inputs an output reads (`reads`). A `Windowed` function then recomputes,
at each step, only the outputs that have just become settled, on a window that holds everything they read: streamed equals
offline. The zeros with which each layer pads its own input enter at the true start and end of the stream alone, because an
inner edge of a window never reaches an output that is emitted.
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

    `transposed`: input i adds to outputs i * stride - padding + (0 ... kernel - 1) * dilation instead. Anything that works on
    each frame alone needs no layer; parallel branches and skips are the one layer that reads the most.
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
    """A layer that reads `radius` frames to both sides of each frame."""
    return ConvSpec(2 * radius + 1, padding=radius)


def rate(layers: Sequence[ConvSpec]) -> Fraction:
    """Output frames an input frame."""
    ratio = Fraction(1)
    for layer in layers:
        ratio *= Fraction(layer.stride) if layer.transposed else Fraction(1, layer.stride)
    return ratio


def settled(layers: Sequence[ConvSpec], frames: int) -> int:
    """How many outputs the first `frames` inputs determine, whatever follows."""
    for layer in layers:
        if layer.transposed:
            frames = max(0, frames * layer.stride - layer.padding)
        else:
            frames = max(0, (frames - 1 + layer.padding - layer.reach) // layer.stride + 1)
    return frames


def reads(layers: Sequence[ConvSpec], first: int, last: int) -> tuple[int, int]:
    """The first and last input that outputs `first` to `last` read; below 0 is padding before the stream."""
    for layer in reversed(layers):
        if layer.transposed:
            first = -((layer.reach - layer.padding - first) // layer.stride)
            last = (last + layer.padding) // layer.stride
        else:
            first = first * layer.stride - layer.padding
            last = last * layer.stride - layer.padding + layer.reach
    return first, last


def receptive_field(layers: Sequence[ConvSpec]) -> tuple[int, int]:
    """(left, right): the most input frames that any output reads before and after the input frame it falls into."""
    ratio = rate(layers)
    outputs = range(ratio.numerator)  # from there on the pattern repeats
    spans = [(math.floor(o / ratio), *reads(layers, o, o)) for o in outputs]
    return max(at - first for at, first, _ in spans), max(last - at for at, _, last in spans)


@dataclass(frozen=True, slots=True)
class WindowState:
    """Where a stream stands: the inputs [..., W] that are still read, the index of their first, outputs emitted so far."""

    inputs: Tensor
    start: int
    emitted: int

    @property
    def end(self) -> int:
        """How many inputs there have been."""
        return self.start + self.inputs.shape[-1]


class Windowed:
    """A function of whole streams, made to run on pieces: `step` gives the very outputs that the function gives at once.

    `function`: inputs [..., F] -> outputs [..., F * rate], without state; it pads with zeros, layer by layer, as `layers` says.
    `empty`: the same inputs -> its outputs of length 0.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], layers: Sequence[ConvSpec], empty: Callable[[Tensor], Tensor]
    ) -> None:
        self.function, self.layers, self.empty = function, tuple(layers), empty
        self.rate = rate(self.layers)
        self.grid = self.rate.denominator  # windows are whole multiples of it, so that outputs fall into place

    def step(self, inputs: Tensor, state: WindowState | None = None, last: bool = False) -> tuple[Tensor, WindowState]:
        """The next inputs [..., F], any F from 0 -> (the outputs [..., G] that they settle, the state that follows).

        `last`: the stream ends here, so that all that is left comes out. Its length must be a multiple of `grid` (ValueError).
        """
        state = state or WindowState(inputs[..., :0], 0, 0)
        held = torch.cat([state.inputs, inputs], -1)
        end = state.start + held.shape[-1]
        if last and end % self.grid:
            raise ValueError(f"A stream of {end} frames is no multiple of {self.grid}: pad it first.")
        ready = math.floor(end * self.rate)
        ready = ready if last else min(settled(self.layers, end), ready)
        if ready <= state.emitted:
            return self.empty(inputs), WindowState(held, state.start, state.emitted)
        outputs = self.function(functional.pad(held, (0, -held.shape[-1] % self.grid)))
        offset = int(state.start * self.rate)
        start = min(end, self._start(ready))
        following = WindowState(held[..., start - state.start :], start, ready)
        return outputs[..., state.emitted - offset : ready - offset], following

    def _start(self, output: int) -> int:
        """Where a window must begin that gives `output`."""
        return max(0, reads(self.layers, output, output)[0]) // self.grid * self.grid
