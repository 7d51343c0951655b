"""Speculative replies: the reply to a user turn that may be over is begun while the silence after it is still waited for.

It is made in a fork of the LLM's context, and none of its events is emitted. If the turn turns out to be over as it was
recognized, the reply is adopted, with all that was made of it; else it is discarded, and nothing else has changed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Self

import torch

from fobench.api.types import Event, EventKind
from fobench.simulation.costs import ADOPTED, SPECULATIVE, step_name
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import LLMContext
from reference_model.inference.reply import GeneratedReply
from reference_model.inference.reply_generation import next_piece


@dataclass(slots=True)
class SpeculativeReply:
    """A reply, the fork of the context with its tokens, and its events so far."""

    rows: torch.Tensor  # LLM inputs [1, n, D] of the turn that it answers
    context: LLMContext
    reply: GeneratedReply
    events: deque[Event] = field(default_factory=deque)

    @classmethod
    def begin(cls, rows: torch.Tensor, context: LLMContext, reply: GeneratedReply) -> Self:
        """A reply to the turn of `rows`, which `context` ends with. The context is forked."""
        return cls(rows, context.fork(), reply)

    def answers(self, rows: torch.Tensor | None) -> bool:
        """Whether it is the reply to a turn of these rows: they are the same tensor, which every change of a turn replaces."""
        return rows is self.rows

    def enough(self, live: InferenceEngine) -> bool:
        """Whether as much of it is made as may be before the turn is known to be over."""
        return self.reply.complete or self.reply.samples >= live.settings.speculative_s * self.reply.rate_hz

    def advance(self, live: InferenceEngine) -> Event:
        """Make the next piece, and keep its event. Returns the event that reports the work."""
        event = next_piece(live, self.context, self.reply)
        if event.kind is not EventKind.BUSY:
            self.events.append(Event(event.kind, {**event.data, "work": ADOPTED}))
        work = step_name(event).replace("last_token", "token")  # few names, so that a table of costs has them all
        return Event(EventKind.BUSY, {"work": f"{SPECULATIVE}{work}"})
