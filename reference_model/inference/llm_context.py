"""The LLM's KV cache of a conversation, and the inputs of each turn in it.

One object, cropped or forked where a conversation branches, never copied per token. Because it keeps the inputs, it can drop its
oldest turns when the LLM's context is full, and be rebuilt with what was heard of a reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

import torch

from fobench.errors import FobenchError
from reference_model.inference.chat_layout import TurnLayout


class ContextBackbone(Protocol):
    """The part of `fobench.api.components.Backbone` that a context uses."""

    def embed(self, ids: torch.Tensor) -> torch.Tensor: ...

    def step(
        self, x: torch.Tensor, state: Any = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, Any]: ...

    def fork(self, state: Any) -> Any: ...

    def crop(self, state: Any, length: int) -> Any: ...


class Role(Enum):
    """Whose turn it is."""

    USER = auto()
    REPLY = auto()


@dataclass(slots=True)
class ContextTurn:
    """A turn in the cache: where its contents begin, and their inputs."""

    role: Role
    opening: int  # position of the first template token that opens it
    start: int  # position of its contents
    rows: list[torch.Tensor] = field(default_factory=list)  # inputs of its contents, each [1, n, D]

    @property
    def length(self) -> int:
        return sum(rows.shape[1] for rows in self.rows)

    def keep(self, length: int) -> None:
        """Keep the first `length` positions of its contents."""
        self.rows = [torch.cat(self.rows, 1)[:, :length]] if length else []


class LLMContext:
    """The LLM's context of a conversation. Inputs enter by `feed` alone; the backbone is never changed.

    `exact`: contents of at most so many positions are computed in steps of the backbone's `exact_rows` (1 where it has none).
    Otherwise the last bits of the numbers, and with them some replies, depend on how many positions arrived at once: kernels
    for few and for many rows add in another order.
    """

    def __init__(self, backbone: ContextBackbone, layout: TurnLayout, exact: int = 0) -> None:
        self._backbone, self._layout, self._exact = backbone, layout, exact
        self._cache: Any = None
        self.length = 0  # positions in the cache
        self.turns: list[ContextTurn] = []
        self.feed(self.embed(layout.opening))

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Token ids -> [1, n, D]."""
        return self._backbone.embed(torch.tensor([list(ids)], dtype=torch.long))

    def feed(self, rows: torch.Tensor, logits: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Append inputs [1, n, D] to the cache in one step -> (final-norm hidden states, logits [1, `logits`, V]).

        Hidden states [1, m, D] are those of the last positions, at least of `logits`.
        """
        if not rows.shape[1]:
            return rows, rows
        hidden, scores, self._cache = self._backbone.step(rows, self._cache, logits=logits)
        self.length += rows.shape[1]
        return hidden, scores

    # ---- turns ---------------------------------------------------------------------------------------------------------

    def open(self, role: Role, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Close the other role's turn, open one of `role`, and feed its first contents [1, n, D].

        Returns the hidden state and the logits of the last positions, at least of one. The first user turn of a conversation
        is already open.
        """
        first = role is Role.USER and not self.turns
        ids = () if first else self._layout.user_open if role is Role.USER else self._layout.reply_open
        turn = ContextTurn(role, self.length, self.length + len(ids))
        self.turns.append(turn)
        opening = self.embed(ids) if ids else rows[:, :0]
        if rows.shape[1]:
            turn.rows.append(rows)
        if not 0 < rows.shape[1] <= self._exact:
            return self.feed(torch.cat([opening, rows.to(opening)], 1), logits=1)
        self.feed(opening)
        return self._feed_contents(rows)

    def extend(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append contents [1, n, D] to the open turn; returns the hidden state and the logits of the last positions."""
        self.turns[-1].rows.append(rows)
        return self._feed_contents(rows)

    def _feed_contents(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        exact = 0 < rows.shape[1] <= self._exact
        steps = rows.split(getattr(self._backbone, "exact_rows", 1), 1) if exact else (rows,)
        for step in steps[:-1]:
            self.feed(step)
        return self.feed(steps[-1], logits=1)

    def drop(self) -> None:
        """Remove the last turn, its opening included."""
        self._crop(self.turns.pop().opening)

    def cut(self, length: int) -> None:
        """Keep the first `length` positions of the last turn's contents; a reply of length 0 is removed with its opening."""
        turn = self.turns[-1]
        if length == 0 and turn.role is Role.REPLY:
            return self.drop()
        if length < turn.length:
            turn.keep(length)
            self._crop(turn.start + length)
        return None

    def fork(self) -> LLMContext:
        """An independent copy. This copies the cache: once per turn over a reply, never per token."""
        forked = object.__new__(LLMContext)
        forked._backbone, forked._layout, forked._exact = self._backbone, self._layout, self._exact
        forked._cache, forked.length = self._backbone.fork(self._cache), self.length
        forked.turns = [ContextTurn(t.role, t.opening, t.start, list(t.rows)) for t in self.turns]
        return forked

    def forget(self, limit: int) -> int:
        """Above `limit` positions: drop the oldest turns until half of that is left, and prefill the rest again, turn by turn.

        Returns how many turns were dropped. FobenchError if the last turn alone is longer than `limit`.
        """
        if self.length <= limit:
            return 0
        kept = list(self.turns)
        while kept and (self.length - kept[0].opening > limit // 2 or kept[0].role is not Role.USER):
            kept.pop(0)
        if not kept and self.turns and self.turns[-1].length > limit:
            raise FobenchError(f"One turn fills the LLM's context of {limit} positions. Speak in shorter turns.")
        dropped, self.turns = len(self.turns) - len(kept), []
        self._cache, self.length = None, 0
        self.feed(self.embed(self._layout.opening))
        exact, self._exact = self._exact, 0
        for turn in kept:
            self.open(turn.role, torch.cat(turn.rows, 1) if turn.rows else self.embed(())[:, :0])
        self._exact = exact
        return dropped

    def _crop(self, length: int) -> None:
        self._cache, self.length = self._backbone.crop(self._cache, length), length
