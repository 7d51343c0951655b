"""Hidden states of the frozen LLM after every chunk of a user turn, in one forward pass.

A CTC adapter retracts tokens where more audio changes how a word is tokenized, so a turn has several token prefixes over time. They
share their beginnings and form a tree, in which each position attends to its ancestors only. One forward pass over all positions of
the tree yields the hidden state after each chunk, as a session computes it step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from reference_model.train.llm.frozen_llm import FrozenLLM

ROOT = -1  # index of the empty prefix


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Token prefixes of one turn.

    Node i holds `tokens[i]` and follows node `parents[i]`; prefix k ends at node `ends[k]`.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, prefixes: Sequence[Sequence[int]]) -> PrefixTree:
        """Makes the tree of `prefixes`: the token ids in the LLM after each chunk."""
        rows: dict[tuple[int, int], int] = {}  # (parent, token): row
        ends = []
        for prefix in prefixes:
            row = ROOT
            for token in prefix:
                row = rows.setdefault((row, token), len(rows))
            ends.append(row)
        return cls(tuple(token for _, token in rows), tuple(parent for parent, _ in rows), tuple(ends))

    @classmethod
    def chain(cls, rows: int, ends: Sequence[int]) -> PrefixTree:
        """Makes the tree of one sequence of `rows` positions, with the end of each prefix."""
        return cls(tuple(range(rows)), tuple(range(-1, rows - 1)), tuple(ends))

    def __len__(self) -> int:
        return len(self.tokens)

    def attention_mask(self) -> Tensor:
        """Returns the attention mask [N, N] bool: each node and its ancestors."""
        visible = torch.eye(len(self), dtype=torch.bool)
        for row, parent in enumerate(self.parents):
            if parent != ROOT:
                visible[row] |= visible[parent]
        return visible


class PrefixTreeForward:
    """Forward passes of a frozen LLM over prefix trees, after an opening [1, P, D] whose KV cache is computed once."""

    def __init__(self, frozen: FrozenLLM, opening: Tensor) -> None:
        self._frozen = frozen
        self._decoder = frozen.backbone.model.base_model  # type: ignore[attr-defined]  # checked by FrozenLLM
        self._opening = self._decode(opening, DynamicCache()).past_key_values
        self.length = opening.shape[1]

    @torch.no_grad()
    def hidden(self, trees: Sequence[PrefixTree], rows: Sequence[Tensor]) -> list[Tensor]:
        """Computes the hidden states [K, D] at each prefix of every turn, zeros for the empty prefix.

        `rows`: embeddings [N, D] of each tree.
        """
        longest = max(map(len, trees))
        states = self._frozen.embed([0])[:, None].new_zeros(len(trees), longest + 1, self._frozen.size)
        if longest:
            states[:, 1:] = self._hidden_states(trees, rows, longest)
        return [state[torch.tensor(tree.ends) + 1] for tree, state in zip(trees, states, strict=True)]

    def _hidden_states(self, trees: Sequence[PrefixTree], rows: Sequence[Tensor], longest: int) -> Tensor:
        """Computes hidden states [B, N, D] of all nodes."""
        device = self._frozen.device
        x = torch.zeros(len(trees), longest, self._frozen.size, device=device)
        visible = torch.eye(longest, dtype=torch.bool).repeat(len(trees), 1, 1)  # padding attends to itself
        for number, (tree, embeddings) in enumerate(zip(trees, rows, strict=True)):
            x[number, : len(tree)] = embeddings
            visible[number, : len(tree), : len(tree)] = tree.attention_mask()
        positions = self.length - 1 + visible.sum(-1)  # [B, N]
        visible = torch.cat([visible.new_ones(len(trees), longest, self.length), visible], 2)
        mask = self._mask(visible.to(device), positions.to(device))
        out = self._decode(x, self._repeated_cache(len(trees)), attention_mask=mask, position_ids=positions.to(device))
        states: Tensor = out.last_hidden_state
        return states.float()

    def _mask(self, visible: Tensor, positions: Tensor) -> Any:
        """Converts `visible` [B, N, P + N] to the decoder's mask, or to one per layer type with sliding-window
        attention."""
        config = self._decoder.config
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return self._additive_mask(visible)
        opening = torch.arange(self.length, device=visible.device).expand(len(visible), -1)
        distance = positions[:, :, None] - torch.cat([opening, positions], 1)[:, None]
        windowed = self._additive_mask(visible & (distance < config.sliding_window))
        return {"full_attention": self._additive_mask(visible), "sliding_attention": windowed}

    def _additive_mask(self, visible: Tensor) -> Tensor:
        """Returns the additive attention mask [B, 1, N, P + N]."""
        mask = torch.zeros(visible.shape, dtype=self._frozen.dtype, device=visible.device)
        return mask.masked_fill(~visible, torch.finfo(mask.dtype).min)[:, None]

    def _repeated_cache(self, batch: int) -> Any:
        """Returns the opening's KV cache, expanded to a batch of turns."""
        return DynamicCache(
            [
                (layer.keys.expand(batch, -1, -1, -1), layer.values.expand(batch, -1, -1, -1))
                for layer in self._opening.layers
            ]
        )

    @torch.no_grad()
    def _decode(self, x: Tensor, cache: Any, **options: Tensor) -> Any:
        x = x.to(self._frozen.device, self._frozen.dtype)
        return self._decoder(inputs_embeds=x, past_key_values=cache, use_cache=True, **options)
