"""Low-rank changes of a frozen encoder's linear maps (LoRA, arXiv 2106.09685): W x + up (down x).

A second pass that hears with somebody else's encoder can so have it listen for what is to be spelt, for a fortieth of its weights.
While it learns, the changes run beside the maps (`attach`); once it is used, they are added to them (`merge`), which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.speech_input.whisper_encoder import WhisperBlock, WhisperConfig, WhisperStreamingEncoder


class LoRAPair(nn.Module):
    """Of one map: down [R, in], up [out, R], zeros at first."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) * linear.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def beside(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """What the map makes of its input, changed: a forward hook."""
        return output + functional.linear(functional.linear(inputs[0], self.down), self.up)

    def weight(self) -> Tensor:
        """[out, in]."""
        return self.up @ self.down


class LoRA(nn.Module):
    """Changes of rank R to every linear map in the `layers` blocks of an encoder of `size`."""

    def __init__(self, size: int, layers: int, rank: int) -> None:
        super().__init__()
        block = WhisperBlock(WhisperConfig(size, layers, heads=1))
        self.layers = nn.ModuleList(
            nn.ModuleDict({_key(name): LoRAPair(linear, rank) for name, linear in _linears(block)})
            for _ in range(layers)
        )

    def attach(self, encoder: WhisperStreamingEncoder) -> None:
        """From now on the encoder hears with the changes, which can learn."""
        self._each(encoder, lambda linear, change: linear.register_forward_hook(change.beside))

    @torch.no_grad()
    def merge(self, encoder: WhisperStreamingEncoder) -> None:
        """Adds the changes to the encoder's weights, once and for all."""
        self._each(encoder, lambda linear, change: linear.weight.add_(change.weight().to(linear.weight)))

    def _each(self, encoder: WhisperStreamingEncoder, do: Callable[[nn.Linear, LoRAPair], object]) -> None:
        for block, changes in zip(encoder.blocks, self.layers, strict=True):
            assert isinstance(changes, nn.ModuleDict)
            for name, linear in _linears(block):
                change = changes[_key(name)]
                assert isinstance(change, LoRAPair)
                do(linear, change)


def _linears(block: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, part) for name, part in block.named_modules() if isinstance(part, nn.Linear)]


def _key(name: str) -> str:
    return name.replace(".", "_")
