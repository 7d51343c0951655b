"""CTC in the LLM's embedding space: rows for the LLM learn to be its own token embeddings, without the LLM in the loop.

A row is compared by cosine with the embeddings of all tokens that occur in the texts, and with one learnt vector for CTC's blank.
It costs a twentieth of learning through the LLM, which then only refines.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.api.components import Backbone
from reference_model.train.engine.trainer import in_full

SCALE = 20.0  # of cosines, where learning begins


class LLMTokenVocabulary:
    """An LLM's tokens as units of writing, numbered from 1 on: those of `ids`."""

    def __init__(self, backbone: Backbone, ids: Iterable[int]) -> None:
        self.ids = tuple(sorted(set(ids)))
        self._backbone = backbone
        self._unit = {token: unit for unit, token in enumerate(self.ids, 1)}

    @classmethod
    def of(cls, backbone: Backbone, texts: Iterable[str]) -> LLMTokenVocabulary:
        """Those that occur in the texts."""
        return cls(backbone, {token for text in texts for token in backbone.encode(text)})

    def __len__(self) -> int:
        """With the blank."""
        return len(self.ids) + 1

    def encode(self, text: str, dropout: float = 0.0, draw: Callable[[], float] = random.random) -> list[int]:
        """Tokens that are none of these are left out. The LLM writes a text in one way only: nothing is dropped."""
        return [self._unit[token] for token in self._backbone.encode(text) if token in self._unit]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = self._backbone.pieces()
        return "".join([*(pieces.add(self.ids[unit - 1]) for unit in ids), pieces.rest()]).strip()

    def letters(self, ids: Sequence[int]) -> list[int]:
        return [max(1, len(self.decode([unit]))) for unit in ids]


class TokenSpace(nn.Module):
    """What tells tokens apart: the blank's vector, and how sharply cosines are told apart."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.blank = nn.Parameter(torch.randn(size) * 0.02)
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def forward(self, rows: Tensor, embeddings: Tensor) -> Tensor:
        """Rows [B, n, D] and the tokens' embeddings [V, D] -> logits [B, n, 1 + V], the blank first."""
        with in_full(rows.device):
            tokens = torch.cat([self.blank[None], embeddings.to(self.blank)])
            cosines = functional.normalize(rows.to(self.blank), dim=-1) @ functional.normalize(tokens, dim=-1).T
            return cosines * self.scale.exp()
