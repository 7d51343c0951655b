"""reference_model/packed_linear.py: the products of the modules, from float16 weights where those are exact."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from reference_model.packed_linear import PackedConv1d, PackedLinear

needs_fbgemm = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="torch without FBGEMM has no float16 kernel"
)


def rounded(module):
    """The module with weights that float16 represents."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half())
    return module


def maps():
    torch.manual_seed(0)
    return [rounded(nn.Linear(24, out, bias=bias)) for out, bias in ((16, True), (8, False), (40, True))]


def expected(parts, x):
    """In float64, which has no rounding to speak of."""
    return [
        nn.functional.linear(x.double(), p.weight.double(), None if p.bias is None else p.bias.double()) for p in parts
    ]


@needs_fbgemm
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_maps_of_the_same_input_are_computed_together(rows):
    parts, x = maps(), torch.randn(1, rows, 24)
    packed = PackedLinear(*parts)
    with torch.inference_mode():
        outputs = packed(x)
        assert packed._packed(x) is not None
    for output, wanted in zip(outputs, expected(parts, x), strict=True):
        torch.testing.assert_close(output.double(), wanted, atol=1e-5, rtol=0)


@needs_fbgemm
@torch.no_grad()
def test_new_weights_are_packed_anew():
    (part, *_), x = maps(), torch.randn(3, 24)
    packed = PackedLinear(part)
    packed(x)
    part.weight.mul_(2)
    torch.testing.assert_close(packed(x)[0].double(), expected([part], x)[0], atol=1e-5, rtol=0)
    part.load_state_dict(maps()[0].state_dict())
    torch.testing.assert_close(packed(x)[0].double(), expected(maps()[:1], x)[0], atol=1e-5, rtol=0)
    part.weight = nn.Parameter(torch.zeros_like(part.weight))
    assert torch.equal(packed(x)[0], part.bias.expand(3, -1))


@torch.no_grad()
def test_weights_that_float16_does_not_represent_stay_as_they_are():
    part = nn.Linear(24, 8)
    part.weight[0, 0] = 1 / 3
    x = torch.randn(5, 24)
    assert torch.equal(PackedLinear(part)(x)[0], part(x))
    part.weight.copy_(part.weight.half())
    part.weight[0, 0] = 1e6  # more than float16 can hold
    assert torch.equal(PackedLinear(part)(x)[0], part(x))
    half = rounded(nn.Linear(24, 8)).double()
    assert torch.equal(PackedLinear(half)(x.double())[0], half(x.double()))


def test_gradients_are_those_of_the_modules():
    parts, x = maps(), torch.randn(5, 24, requires_grad=True)
    loss = sum(output.square().sum() for output in PackedLinear(*parts)(x))
    wanted = torch.autograd.grad(sum(part(x).square().sum() for part in parts), [x, *(p.weight for p in parts)])
    for gradient, other in zip(torch.autograd.grad(loss, [x, *(p.weight for p in parts)]), wanted, strict=True):
        torch.testing.assert_close(gradient, other)


@torch.no_grad()
def test_a_hook_on_a_module_is_heeded():
    """LoRA adds its updates by hooks."""
    (part, *_), x = maps(), torch.randn(3, 24)
    packed = PackedLinear(part)
    before = packed(x)[0]
    hook = part.register_forward_hook(lambda _, __, output: output + 1)
    torch.testing.assert_close(packed(x)[0], before + 1)
    hook.remove()
    assert torch.equal(packed(x)[0], before)


@torch.no_grad()
def test_a_copied_module_computes_with_its_own_weights():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = maps()[0]
            self.packed = PackedLinear(self.map)

    block, x = Block(), torch.randn(3, 24)
    before = block.packed(x)[0]
    other = copy.deepcopy(block)
    other.map.weight.zero_()
    assert torch.equal(block.packed(x)[0], before)
    assert torch.equal(other.packed(x)[0], other.map.bias.expand(3, -1))


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride", "frames"), [(3, 1, 18), (3, 2, 17), (6, 2, 12), (6, 2, 5)])
def test_a_convolution_is_a_map_of_windows(kernel, stride, frames):
    torch.manual_seed(0)
    conv = nn.Conv1d(10, 12, kernel, stride)
    x = torch.randn(2, frames, 10)
    if frames < kernel:
        with pytest.raises(RuntimeError, match="Kernel size"):
            PackedConv1d(conv)(x)
        return
    for module in (conv, rounded(conv)):
        wanted = module(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(PackedConv1d(module)(x)[0], wanted, atol=1e-5, rtol=0)
