"""LoRA (arXiv 2106.09685) for the linear maps of a frozen encoder: W x + up (down x).

It adapts the second pass's Whisper encoder to CTC, with a fortieth of its parameters. In training the updates are computed
separately (`attach`); for inference they are added to the weights (`merge`), at no cost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.speech_input.whisper_encoder import WhisperBlock, WhisperConfig, WhisperStreamingEncoder


class LoRAPair(nn.Module):
    """The update of one linear map: down [R, in], up [out, R], initially zero."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) * linear.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def beside(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """A forward hook: the map's output plus the update."""
        return output + functional.linear(functional.linear(inputs[0], self.down), self.up)

    def weight(self) -> Tensor:
        """The update of the weight [out, in]."""
        return self.up @ self.down


class LoRA(nn.Module):
    """Updates of rank `rank` for every linear map in the `layers` blocks of an encoder of `size`."""

    def __init__(self, size: int, layers: int, rank: int) -> None:
        super().__init__()
        block = WhisperBlock(WhisperConfig(size, layers, heads=1))
        self.layers = nn.ModuleList(
            nn.ModuleDict({_key(name): LoRAPair(linear, rank) for name, linear in _linears(block)})
            for _ in range(layers)
        )

    def attach(self, encoder: WhisperStreamingEncoder) -> None:
        """Add the updates to the encoder's outputs by forward hooks, trainable."""
        self._each(encoder, lambda linear, pair: linear.register_forward_hook(pair.beside))

    @torch.no_grad()
    def merge(self, encoder: WhisperStreamingEncoder) -> None:
        """Add the updates to the encoder's weights, permanently."""
        self._each(encoder, lambda linear, pair: linear.weight.add_(pair.weight().to(linear.weight)))

    def _each(self, encoder: WhisperStreamingEncoder, do: Callable[[nn.Linear, LoRAPair], object]) -> None:
        for block, pairs in zip(encoder.blocks, self.layers, strict=True):
            assert isinstance(pairs, nn.ModuleDict)
            for name, linear in _linears(block):
                pair = pairs[_key(name)]
                assert isinstance(pair, LoRAPair)
                do(linear, pair)


def _linears(block: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, part) for name, part in block.named_modules() if isinstance(part, nn.Linear)]


def _key(name: str) -> str:
    return name.replace(".", "_")
