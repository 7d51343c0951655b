"""Speculative replies: the reply to a turn that may be over is begun while the silence after it is still waited for.

None of its events is emitted. If the turn turns out to be over as it was transcribed, the reply is adopted, with all that was made of
it; else it is discarded, and nothing else has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from fobench.api.types import Event, EventKind, Message
from fobench.simulation.costs import ADOPTED, SPECULATIVE, media_ns, step_name
from fobench_plugins.systems.cascade.turn_state import CascadeReply


@dataclass(slots=True)
class SpeculativeReply:
    """A reply, the conversation that it answers, and its events so far."""

    messages: list[Message]
    reply: CascadeReply
    events: deque[Event] = field(default_factory=deque)

    @classmethod
    def begin(cls, messages: list[Message], number: int, tokens: Iterator[str]) -> Self:
        """A reply to `messages`, the last of which is the user's turn."""
        return cls(messages, CascadeReply(number, tokens))

    def keep(self, event: Event) -> Event:
        """Keep an event of the reply. Returns the event that reports the work."""
        if event.kind is not EventKind.BUSY:
            self.events.append(Event(event.kind, {**event.data, "work": ADOPTED}))
        made = {"duration_ns": media_ns(event)} if event.kind is EventKind.AUDIO else {}
        return Event(EventKind.BUSY, {"work": f"{SPECULATIVE}{step_name(event)}", **made})
