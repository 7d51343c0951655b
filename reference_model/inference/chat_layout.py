"""The position of a turn's audio among the tokens of a backbone's chat template.

The layout is found by probing: the template is filled with contents of one token each, and the ids that stay the same are layout.
So any chat model works (Qwen, Llama 3, SmolLM2, Gemma, ...), with the ids around a turn that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fobench.api.types import Message
from fobench.errors import FobenchError

Chat = Callable[[Sequence[Message]], list[int]]

PROBES = (("1", "2"), ("a", "b"), ("yes", "no"), ("one", "two"))  # two contents of one token each, in most vocabularies


@dataclass(frozen=True, slots=True)
class TurnLayout:
    """Token ids around the turns of a conversation.

    A conversation is `opening`, user, `reply_open`, reply, `user_open`, user, `reply_open`, reply, ... The ids that close a turn
    belong to what opens the next; so a reply that was stopped is closed like any other.
    """

    opening: tuple[int, ...]  # before the first user turn: system prompt, and the user turn's opening
    reply_open: tuple[int, ...]  # closes the user's turn, opens the reply
    user_open: tuple[int, ...]  # closes the reply, opens the user's turn

    @classmethod
    def of(cls, chat: Chat, system_prompt: str = "") -> TurnLayout:
        """The layout of a backbone's template, `chat`. FobenchError if contents and layout cannot be separated."""
        system: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        for probe in PROBES:
            ids, others = ([*chat([*system, *_conversation(content)])] for content in probe)
            cuts = [i for i, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other]
            if len(ids) == len(others) and len(cuts) == 3:
                user, reply, again = cuts
                return cls(tuple(ids[:user]), tuple(ids[again + 1 :]), tuple(ids[reply + 1 : again]))
        raise FobenchError(
            "The backbone's chat template does not separate layout from contents, so audio cannot replace a turn's text. "
            "Use a model whose template copies each message as it is."
        )


def _conversation(content: str) -> list[Message]:
    return [{"role": role, "content": content} for role in ("user", "assistant", "user")]
