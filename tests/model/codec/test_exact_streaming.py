"""Exact streaming: receptive fields, and streamed equals offline for any split."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reference_model.codec.exact_streaming import (
    ConvSpec,
    Windowed,
    WindowedChain,
    rate,
    reads,
    receptive_field,
    same,
    settled,
)

SPLITS = st.lists(st.integers(0, 8), min_size=1, max_size=12)


def conv(layer):
    """One channel; biased, so that zeros inside differ from zeros outside."""
    kind = nn.ConvTranspose1d if layer.transposed else nn.Conv1d
    return kind(1, 1, layer.kernel, layer.stride, layer.padding, dilation=layer.dilation)


def streamed(windowed, x, sizes):
    """The input [1, 1, F] in pieces of the sizes, the last one with the rest."""
    state, outputs = None, []
    for size in sizes:
        y, state = windowed.step(x[..., :size], state)
        outputs.append(y)
        x = x[..., size:]
    y, state = windowed.step(x, state, last=True)
    return torch.cat([*outputs, y], -1)


STACKS = {
    "one convolution": [ConvSpec(7, padding=3)],
    "causal": [ConvSpec(7, padding=6)],
    "dilated": [ConvSpec(3, dilation=4, padding=4), same(2)],
    "up": [ConvSpec(16, 8, padding=4, transposed=True), same(3), ConvSpec(11, 5, padding=3, transposed=True)],
    "down": [ConvSpec(8, 2, padding=3), ConvSpec(5, 3, padding=1), same(1)],
    "down and up": [ConvSpec(4, 2, padding=1), same(2), ConvSpec(9, 3, padding=3, transposed=True)],
    "up and down": [ConvSpec(4, 4, transposed=True), ConvSpec(6, 2, padding=2)],
}


class Stack(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.convs = nn.ModuleList(conv(layer) for layer in layers)
        self.left = [layer.reach - layer.padding for layer in layers]

    def forward(self, x):
        for module, missing in zip(self.convs, self.left, strict=True):
            x = torch.tanh(module(x))
            if missing == 0:  # causal: torch has padded the right as well
                x = x[..., : x.shape[-1] - module.padding[0]]
        return x


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS.keys())
@given(sizes=SPLITS, rest=st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_a_streamed_stack_of_convolutions_equals_offline(layers, sizes, rest):
    torch.manual_seed(0)
    stack, grid = Stack(layers), rate(layers).denominator
    length = max(1, -(-(sum(sizes) + rest) // grid)) * grid
    x = torch.randn(1, 1, length)
    windowed = Windowed(stack, layers, lambda x: x[..., :0])
    with torch.no_grad():
        torch.testing.assert_close(streamed(windowed, x, sizes), stack(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS.keys())
def test_settled_and_reads_agree_with_gradients(layers):
    torch.manual_seed(0)
    stack, x = Stack(layers), torch.randn(1, 1, 60, requires_grad=True)
    y = stack(x)[0, 0]
    for output in range(len(y)):
        gradient = torch.autograd.grad(y[output], x, retain_graph=True)[0][0, 0]
        first, last = reads(layers, output, output)
        touched = gradient.nonzero()[:, 0].tolist()
        assert touched[0] == max(0, first)
        assert touched[-1] == min(59, last)
        assert settled(layers, last + 1) > output >= settled(layers, max(0, last))


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS.keys())
@given(sizes=SPLITS, rest=st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_a_chain_of_single_convolutions_equals_offline(layers, sizes, rest):
    torch.manual_seed(0)
    stack, grid = Stack(layers), rate(layers).denominator
    grids = max(grid, *(rate(layers[:n]).denominator for n in range(1, len(layers) + 1)))
    x = torch.randn(1, 1, max(1, -(-(sum(sizes) + rest) // grids)) * grids)
    parts = [Stack([layer]) for layer in layers]
    for part, conv in zip(parts, stack.convs, strict=True):
        part.convs[0] = conv
    chain = WindowedChain(
        [Windowed(part, [one], lambda x: x[..., :0]) for part, one in zip(parts, layers, strict=True)]
    )
    with torch.no_grad():
        torch.testing.assert_close(streamed(chain, x, sizes), stack(x), atol=1e-6, rtol=0)


def test_each_part_of_a_chain_keeps_no_more_than_its_own_field():
    layers = [same(3), ConvSpec(16, 8, padding=4, transposed=True), same(20)]
    chain, states = WindowedChain([Windowed(Stack([one]), [one], lambda x: x[..., :0]) for one in layers]), None
    with torch.no_grad():
        for _ in range(20):
            _, states = chain.step(torch.zeros(1, 1, 5), states)
    for state, layer in zip(states, layers, strict=True):
        assert state.inputs.shape[-1] <= sum(receptive_field([layer])) + 1


def test_receptive_fields():
    assert receptive_field([same(3)]) == (3, 3)
    assert receptive_field([ConvSpec(7, padding=6)]) == (6, 0)
    assert receptive_field([same(3), ConvSpec(2, 2, transposed=True)]) == (3, 3)
    assert receptive_field([ConvSpec(16, 8, padding=4, transposed=True)]) == (1, 1)
    assert receptive_field([ConvSpec(1024, 256, padding=384)]) == (384, 639)


def test_the_window_kept_does_not_grow():
    layers = [same(3), ConvSpec(16, 8, padding=4, transposed=True), same(20)]
    windowed, state = Windowed(Stack([same(3)]), layers, lambda x: x[..., :0]), None
    windowed.function = lambda x: x.repeat_interleave(8, -1)
    widths = []
    for _ in range(50):
        _, state = windowed.step(torch.zeros(1, 1, 1), state)
        widths.append(state.inputs.shape[-1])
    left, right = receptive_field(layers)
    assert max(widths) <= left + right + 1


def test_a_stream_that_ends_within_a_frame_is_refused():
    windowed = Windowed(Stack(STACKS["down"]), STACKS["down"], lambda x: x[..., :0])
    with pytest.raises(ValueError, match="not a multiple of 6"):
        windowed.step(torch.zeros(1, 1, 7), last=True)
