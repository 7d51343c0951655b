"""What the frozen LLM thinks after every beginning of a user turn: of all its chunks, in one pass.

An adapter that spells takes tokens back where more sound changes how a word is cut, so a turn is read in several ways on the way to
its end. They share their beginnings: together they are a tree, every row of which sees the rows above it and no others. So the
hidden state after each chunk, as a session gets it step by step, comes out of one forward pass over all rows of the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from reference_model.train.llm.frozen_llm import FrozenLLM

NOTHING = -1  # in place of a row: nothing has been given to the LLM


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Readings of one turn. Row i holds `tokens[i]` and follows row `parents[i]`; reading k ends with row `ends[k]`."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, readings: Sequence[Sequence[int]]) -> PrefixTree:
        """`readings`: of each moment, the tokens that the LLM has been given."""
        rows: dict[tuple[int, int], int] = {}  # (parent, token): row
        ends = []
        for reading in readings:
            row = NOTHING
            for token in reading:
                row = rows.setdefault((row, token), len(rows))
            ends.append(row)
        return cls(tuple(token for _, token in rows), tuple(parent for parent, _ in rows), tuple(ends))

    @classmethod
    def chain(cls, rows: int, ends: Sequence[int]) -> PrefixTree:
        """One reading of rows 0, 1, 2, ..., and its moments."""
        return cls(tuple(range(rows)), tuple(range(-1, rows - 1)), tuple(ends))

    def __len__(self) -> int:
        return len(self.tokens)

    def seen(self) -> Tensor:
        """[N, N] bool: which rows each row sees."""
        seen = torch.eye(len(self), dtype=torch.bool)
        for row, parent in enumerate(self.parents):
            if parent != NOTHING:
                seen[row] |= seen[parent]
        return seen


class PrefixTreeForward:
    """A frozen LLM after an opening [1, P, D], which it thinks once."""

    def __init__(self, frozen: FrozenLLM, opening: Tensor) -> None:
        self._frozen = frozen
        self._decoder = frozen.backbone.model.base_model  # type: ignore[attr-defined]
        self._opening = self._decode(opening, DynamicCache()).past_key_values
        self.length = opening.shape[1]

    @torch.no_grad()
    def hidden(self, trees: Sequence[PrefixTree], rows: Sequence[Tensor]) -> list[Tensor]:
        """The hidden state at each moment of every turn [K, D], zeros where nothing was given; `rows`: of each tree [N, D]."""
        longest = max(map(len, trees))
        states = self._frozen.embed([0])[:, None].new_zeros(len(trees), longest + 1, self._frozen.size)
        if longest:
            states[:, 1:] = self._think(trees, rows, longest)
        return [state[torch.tensor(tree.ends) + 1] for tree, state in zip(trees, states, strict=True)]

    def _think(self, trees: Sequence[PrefixTree], rows: Sequence[Tensor], longest: int) -> Tensor:
        """[B, N, D]: row i of the result belongs to row i of the tree."""
        device = self._frozen.device
        x = torch.zeros(len(trees), longest, self._frozen.size, device=device)
        seen = torch.eye(longest, dtype=torch.bool).repeat(len(trees), 1, 1)  # what only fills up sees itself
        for number, (tree, given) in enumerate(zip(trees, rows, strict=True)):
            x[number, : len(tree)] = given
            seen[number, : len(tree), : len(tree)] = tree.seen()
        positions = self.length - 1 + seen.sum(-1)  # [B, N]
        seen = torch.cat([seen.new_ones(len(trees), longest, self.length), seen], 2)
        mask = self._mask(seen.to(device), positions.to(device))
        out = self._decode(x, self._expanded(len(trees)), attention_mask=mask, position_ids=positions.to(device))
        states: Tensor = out.last_hidden_state
        return states.float()

    def _mask(self, seen: Tensor, positions: Tensor) -> Any:
        """`seen` [B, N, P + N] as the decoder takes it: of each kind of layer where some see only the nearest positions."""
        config = self._decoder.config
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return self._added(seen)
        opening = torch.arange(self.length, device=seen.device).expand(len(seen), -1)
        behind = positions[:, :, None] - torch.cat([opening, positions], 1)[:, None]
        near = self._added(seen & (behind < config.sliding_window))
        return {"full_attention": self._added(seen), "sliding_attention": near}

    def _added(self, seen: Tensor) -> Tensor:
        """What is added to the scores [B, 1, N, P + N]."""
        mask = torch.zeros(seen.shape, dtype=self._frozen.dtype, device=seen.device)
        return mask.masked_fill(~seen, torch.finfo(mask.dtype).min)[:, None]

    def _expanded(self, batch: int) -> Any:
        """The opening's cache, for a batch of turns."""
        return DynamicCache(
            [
                (layer.keys.expand(batch, -1, -1, -1), layer.values.expand(batch, -1, -1, -1))
                for layer in self._opening.layers
            ]
        )

    @torch.no_grad()
    def _decode(self, x: Tensor, cache: Any, **given: Tensor) -> Any:
        x = x.to(self._frozen.device, self._frozen.dtype)
        return self._decoder(inputs_embeds=x, past_key_values=cache, use_cache=True, **given)
