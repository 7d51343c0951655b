"""What a frozen LLM says and is told, in text: chat template, tokens, and the reply as it comes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import torch

from fobench.api.types import Message
from fobench.errors import FobenchError

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>", "<|endoftext|>")
TEMPLATE_DATE = datetime(
    2024, 7, 26
)  # what Llama 3's template says without a clock: prompts must not change with the day
TEMPLATE_OPTIONS = {
    "date_string": f"{TEMPLATE_DATE:%d %b %Y}",  # Llama 3
    "enable_thinking": False,  # Qwen3, SmolLM3: a spoken reply begins at once
}
NOW = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")  # SmolLM3


class ChatTemplate(ABC):
    """The text side of a backbone, by its tokenizer (transformers'); `embed` and `step` are the engine's."""

    name: str
    tokenizer: Any
    context: int  # positions
    end_ids: frozenset[int]

    @abstractmethod
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""

    @abstractmethod
    def step(
        self, x: torch.Tensor, state: Any = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state). `logits`: of the last so many positions."""

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation in the model's own chat template, ending where the reply begins.

        Raises FobenchError for no messages, a tokenizer without a chat template, or a template that refuses the roles.
        """
        from jinja2 import TemplateError

        if not messages:
            raise FobenchError(f"Backbone {self.name!r}: a chat needs at least one message.")
        if not getattr(self.tokenizer, "chat_template", None):
            raise FobenchError(
                f"Backbone {self.name!r} has no chat template, so it cannot hold a conversation. Use its instruct variant."
            )
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": False, **TEMPLATE_OPTIONS}
        template = _dated(self.tokenizer.chat_template)
        try:
            ids: list[int] = self.tokenizer.apply_chat_template(list(messages), chat_template=template, **options)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FobenchError(
                f"The chat template of backbone {self.name!r} refuses the roles {roles}: {error}"
            ) from error
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without any special token."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def pieces(self) -> IncrementalDetokenizer:
        """Turns the ids of one reply into text as they come."""
        return IncrementalDetokenizer(self.tokenizer)

    @torch.no_grad()
    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, seed: int, temperature: float = 0.0
    ) -> Iterator[str]:
        """The reply, one token's text at a time; the first step includes the prefill. Greedy at temperature 0.

        A piece is empty where a token only begins a character of several bytes; the pieces joined are the reply. Ends at the
        model's end of turn, after `max_tokens` or where the context is full. FobenchError if the prompt does not fit into it.
        """
        ids = self.chat(messages)
        if len(ids) >= self.context:
            raise FobenchError(
                f"The conversation has {len(ids)} tokens; backbone {self.name!r} takes {self.context}. Shorten the history."
            )
        generator, pieces = torch.Generator().manual_seed(seed), self.pieces()
        state = None
        for _ in range(min(max_tokens, self.context - len(ids))):
            logits, state = self._next(self.embed(torch.tensor([ids])), state)
            token = _sample(logits, temperature, generator)
            if token in self.end_ids:
                break
            yield pieces.add(token)
            ids = [token]
        if rest := pieces.rest():
            yield rest

    def _next(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """[1, T, D] inputs -> (logits [V] of the last position, state)."""
        _, logits, state = self.step(x, state, logits=1)
        return logits[0, -1], state


class IncrementalDetokenizer:
    """Token ids, one by one, into text: what a token adds, never a part of a character."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # of the pieces given last and those not given yet
        self._given = 0  # how many of them have been given

    def add(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        self._ids.append(token)
        before, text = self._decode(self._ids[: self._given]), self._decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        self._ids, self._given = self._ids[self._given :], len(self._ids) - self._given
        return text[len(before) :]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        before, text = self._decode(self._ids[: self._given]), self._decode(self._ids)
        return text[len(before) :].rstrip("\ufffd")

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _dated(template: Any) -> Any:
    """A chat template whose "now" is `TEMPLATE_DATE`; several named ones are left as they are."""
    if not isinstance(template, str):
        return None
    return NOW.sub(lambda call: repr(TEMPLATE_DATE.strftime(call[2])), template)


def _sample(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """A token id from logits [V]; drawn on the CPU in float64, so that a seed means the same on every device."""
    if temperature <= 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.double().cpu() / temperature, -1)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def end_ids(tokenizer: Any, configured: int | Sequence[int] | None = None) -> frozenset[int]:
    """Every id that ends a turn: the generation config's, the tokenizer's, and the usual names the vocabulary has."""
    ids = {configured} if isinstance(configured, int) else set(configured or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    return frozenset(ids | {vocabulary[token] for token in TURN_ENDS if token in vocabulary})
