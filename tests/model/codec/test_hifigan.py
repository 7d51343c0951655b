"""reference_model/codec/hifigan.py: sizes, weight norm, the blocks written out, and streaming."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv1d, leaky_relu

from fobench.errors import FobenchError
from reference_model.codec.exact_streaming import Windowed, rate, receptive_field
from reference_model.codec.hifigan import (
    PIPER_GENERATOR,
    ChannelsLastConv1d,
    ChannelsLastConvTranspose1d,
    Generator,
    GeneratorConfig,
    ResidualBlock,
    fused,
    weight_normed,
)

SMALL = GeneratorConfig(6, 8, (4, 3), (8, 5), (3, 5), ((1, 2), (2, 6)), block=2)


def generator(config):
    torch.manual_seed(0)
    return Generator(config).eval().requires_grad_(False)


def test_pipers_generator():
    with torch.device("meta"):
        piper = Generator(PIPER_GENERATOR)
    shapes = {key: tuple(value.shape) for key, value in piper.state_dict().items()}
    assert PIPER_GENERATOR.hop == 256
    assert sum(p.numel() for p in piper.parameters()) == 1_662_976
    assert shapes["pre.weight"] == (256, 192, 7)
    assert shapes["stages.0.up.weight"] == (256, 128, 16)
    assert shapes["stages.2.up.weight"] == (64, 32, 8)
    assert shapes["stages.1.blocks.2.dilated.1.weight"] == (64, 64, 7)
    assert shapes["post.weight"] == (1, 32, 7)
    assert "post.bias" not in shapes
    assert receptive_field(piper.layers) == (11, 11)


def test_convolutions_in_channels_last_memory_are_those_of_torch():
    """Outputs and gradients, of any layout of the input."""
    torch.manual_seed(0)
    ours = ChannelsLastConv1d(6, 8, 5, dilation=2, padding=4), ChannelsLastConvTranspose1d(6, 8, 8, 4, padding=2)
    plain = nn.Conv1d(6, 8, 5, dilation=2, padding=4), nn.ConvTranspose1d(6, 8, 8, 4, padding=2)
    for one, other in zip(ours, plain, strict=True):
        other.load_state_dict(one.state_dict())
        for x in (torch.randn(2, 6, 21), torch.randn(2, 21, 6).transpose(1, 2)):
            x = x.requires_grad_()
            y, wanted = one(x), other(x)
            torch.testing.assert_close(y, wanted, atol=1e-5, rtol=0)
            assert y.transpose(1, 2).is_contiguous()
            loss, other_loss = y.square().sum(), wanted.square().sum()
            for a, b in zip(
                torch.autograd.grad(loss, [x, *one.parameters()]),
                torch.autograd.grad(other_loss, [x, *other.parameters()]),
                strict=True,
            ):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_block_of_the_second_kind_is_a_chain_of_dilated_convolutions():
    torch.manual_seed(0)
    block, x = ResidualBlock(4, 3, (1, 2), kind=2), torch.randn(1, 4, 9)
    a, b = block.dilated
    y = x + conv1d(leaky_relu(x, 0.1), a.weight, a.bias, padding=1)
    y = y + conv1d(leaky_relu(y, 0.1), b.weight, b.bias, padding=2, dilation=2)
    torch.testing.assert_close(block(x), y)
    assert block.radius == 3


def test_a_block_of_the_first_kind_has_an_undilated_convolution_after_each():
    torch.manual_seed(0)
    block, x = ResidualBlock(4, 5, (3,), kind=1), torch.randn(1, 4, 9)
    a, b = block.dilated[0], block.plain[0]
    y = conv1d(leaky_relu(x, 0.1), a.weight, a.bias, padding=6, dilation=3)
    y = x + conv1d(leaky_relu(y, 0.1), b.weight, b.bias, padding=2)
    torch.testing.assert_close(block(x), y)
    assert block.radius == 8


def test_the_voice_is_added_where_it_fits():
    config = replace(SMALL, global_size=4)
    net, x = generator(config), torch.randn(2, 6, 5)
    assert [stage.takes_global for stage in net.stages] == [True, False]
    assert not torch.allclose(net(x, torch.ones(2, 4)), net(x))
    torch.testing.assert_close(net(x, torch.zeros(2, 4)), net(x))


def test_weight_norm_changes_nothing_until_it_is_trained():
    net, x = generator(SMALL), torch.randn(1, 6, 5)
    before, keys = net(x), set(net.state_dict())
    weight_normed(net)
    normed = set(net.state_dict())
    torch.testing.assert_close(net(x), before)
    torch.testing.assert_close(fused(net)(x), before)
    assert set(net.state_dict()) == keys != normed


@pytest.mark.parametrize("block", [1, 2])
@given(sizes=st.lists(st.integers(1, 8), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_streamed_generator_equals_offline(block, sizes):
    net = generator(replace(SMALL, block=block))
    windowed = Windowed(net, net.layers, lambda x: x.new_zeros(len(x), 0))
    x = torch.randn(2, 6, sum(sizes), generator=torch.Generator().manual_seed(1))
    state, pieces = None, []
    for index, piece in enumerate(x.split(sizes, -1)):
        wave, state = windowed.step(piece, state, last=index == len(sizes) - 1)
        pieces.append(wave)
    assert rate(net.layers) == 12
    torch.testing.assert_close(torch.cat(pieces, -1), net(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernels": (8,)}, "one kernel for each rate"),
        ({"channels": 6}, "cannot be halved"),
        ({"kernels": (8, 4)}, r"by even numbers, and block kernels be odd: \[\(4, 3\)\]"),
        ({"block_kernels": (3, 4)}, "block kernels be odd"),
    ],
)
def test_inconsistent_sizes_are_an_error(wrong, message):
    with pytest.raises(FobenchError, match=message):
        replace(SMALL, **wrong)
