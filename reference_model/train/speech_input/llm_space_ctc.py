"""CTC in the LLM's embedding space: trains an embedding adapter without the LLM in the loop.

The logits are scaled cosine similarities of an adapter output to the embeddings of all tokens that occur in the texts, and to one
learned vector for the CTC blank. A step costs about a twentieth of one through the LLM, which refines the result in input stage 2.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.api.components import Backbone
from reference_model.train.engine.trainer import full_precision

SCALE = 20.0  # initial scale of the cosine similarities


class LLMTokenVocabulary:
    """CTC vocabulary of the LLM tokens `ids`, numbered from 1 on; 0 is the blank."""

    def __init__(self, backbone: Backbone, ids: Iterable[int]) -> None:
        self.ids = tuple(sorted(set(ids)))
        self._backbone = backbone
        self._unit = {token: unit for unit, token in enumerate(self.ids, 1)}

    @classmethod
    def of(cls, backbone: Backbone, texts: Iterable[str]) -> LLMTokenVocabulary:
        """Returns the vocabulary of the tokens that occur in the texts."""
        return cls(backbone, {token for text in texts for token in backbone.encode(text)})

    def __len__(self) -> int:
        """Returns the number of tokens, including the blank."""
        return len(self.ids) + 1

    def encode(self, text: str, dropout: float = 0.0, draw: Callable[[], float] = random.random) -> list[int]:
        """Encodes a text; tokens outside the vocabulary are dropped.

        `dropout` has no effect: the LLM's tokenizer is deterministic.
        """
        return [self._unit[token] for token in self._backbone.encode(text) if token in self._unit]

    def decode(self, ids: Sequence[int]) -> str:
        detokenizer = self._backbone.detokenizer()
        return "".join([*(detokenizer.push(self.ids[unit - 1]) for unit in ids), detokenizer.flush()]).strip()

    def letters(self, ids: Sequence[int]) -> list[int]:
        return [max(1, len(self.decode([unit]))) for unit in ids]


class TokenSpace(nn.Module):
    """Learned parameters of the token logits: the blank's vector [D] and the log scale of the cosine similarities."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.blank = nn.Parameter(torch.randn(size) * 0.02)
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def forward(self, rows: Tensor, embeddings: Tensor) -> Tensor:
        """Computes the logits [B, n, 1 + V], blank first, of adapter outputs [B, n, D] over token embeddings [V, D]."""
        with full_precision(rows.device):
            tokens = torch.cat([self.blank[None], embeddings.to(self.blank)])
            cosines = functional.normalize(rows.to(self.blank), dim=-1) @ functional.normalize(tokens, dim=-1).T
            return cosines * self.scale.exp()
