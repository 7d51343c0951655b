"""The text interface of a frozen LLM: chat template, tokenization, and streamed generation."""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import torch

from fobench.api.thoughts import TAG
from fobench.api.types import Message
from fobench.errors import FobenchError
from fobench_plugins.backbones.generation import NO_REPEAT, Generation
from fobench_plugins.backbones.prompt_cache import PromptCache, common_prefix
from reference_model.speech_output.sampling import without_repeats

END_OF_TURN_TOKENS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
)
TEMPLATE_DATE = datetime(2024, 7, 26)  # the default of Llama 3's template; prompts must not depend on the current date
TEMPLATE_OPTIONS = {
    "date_string": f"{TEMPLATE_DATE:%d %b %Y}",  # Llama 3
    "enable_thinking": False,  # Qwen3, SmolLM3: a spoken reply must not wait for a reasoning trace
}
STRFTIME_CALL = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")  # SmolLM3


class ChatTemplate(ABC):
    """The text side of a backbone, by a tokenizer of transformers; subclasses implement `embed`, `step` and `fork`."""

    name: str
    tokenizer: Any
    context: int  # positions
    end_ids: frozenset[int]
    num_embeddings: int  # rows of the input embedding table
    generation: Generation = "no-repeat-4"

    @cached_property
    def _prompts(self) -> PromptCache:
        return PromptCache()

    @property
    def no_repeat(self) -> int:
        """So many tokens in a row occur once at most in a reply; 0: without a limit."""
        return NO_REPEAT[self.generation]

    @abstractmethod
    def fork(self, state: Any) -> Any:
        """An independent copy of a state."""

    @abstractmethod
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""

    @abstractmethod
    def step(
        self, x: torch.Tensor, state: Any = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state).

        `logits`: compute them for that many last positions only.
        """

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation in the model's own chat template, with the generation prompt at its end.

        Raises FobenchError without messages, without a chat template, or if the template rejects the roles.
        """
        from jinja2 import TemplateError

        if not messages:
            raise FobenchError(f"Backbone {self.name!r}: a chat needs at least one message.")
        if not getattr(self.tokenizer, "chat_template", None):
            raise FobenchError(no_chat_template(self.name))
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": False, **TEMPLATE_OPTIONS}
        template = _with_fixed_date(self.tokenizer.chat_template)
        try:
            ids: list[int] = self.tokenizer.apply_chat_template(list(messages), chat_template=template, **options)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FobenchError(
                f"The chat template of backbone {self.name!r} refuses the roles {roles}: {error}"
            ) from error
        except Exception as error:  # a template is a program
            raise FobenchError(f"The chat template of backbone {self.name!r} fails: {error!r:.200}.") from error
        return ids

    def check_chat(self) -> None:
        """Raises FobenchError if the chat template cannot hold a question, or gives ids that the model does not have."""
        ids = self.chat([{"role": "user", "content": "Hello."}])
        if not ids or max(ids) >= self.num_embeddings:
            raise FobenchError(
                f"Backbone {self.name!r}: its tokenizer has ids up to {max(ids, default=-1)}, its embedding table "
                f"{self.num_embeddings} rows, so they belong to different models."
            )

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def detokenizer(self) -> IncrementalDetokenizer:
        """A detokenizer for the tokens of one reply."""
        return IncrementalDetokenizer(self.tokenizer)

    @torch.no_grad()
    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, seed: int, temperature: float = 0.0
    ) -> Iterator[str]:
        """Yields the reply, the text of one token at a time; the first step includes the prefill.

        Greedy at temperature 0, under the rule `generation`.

        An item is empty while a multi-byte character is incomplete; the concatenation of all items is the reply. Ends
        at an end-of-turn token, after `max_tokens`, or at the end of the context. Raises FobenchError if the prompt
        exceeds the context.
        """
        ids = self.chat(messages)
        if len(ids) >= self.context:
            raise FobenchError(
                f"The conversation has {len(ids)} tokens; backbone {self.name!r} takes {self.context}. "
                "Shorten the history."
            )
        generator, detokenizer = torch.Generator().manual_seed(seed), self.detokenizer()
        logits, state = self._prompts.prefill(ids, self._turn_ends(messages, ids), self._enter, self.fork, self.context)
        reply = list[int]()
        for _ in range(min(max_tokens, self.context - len(ids))):
            if reply:
                logits, state = self._enter(reply[-1:], state)
            token = _sample(without_repeats(logits, reply, self.no_repeat), temperature, generator)
            if token in self.end_ids:
                break
            yield detokenizer.push(token)
            reply.append(token)
        if remainder := detokenizer.flush():
            yield remainder

    def _turn_ends(self, messages: Sequence[Message], ids: Sequence[int]) -> list[int]:
        """Where the system prompt and the prompts of the user's earlier turns end in the prompt `ids` of `messages`."""
        ends = set()
        for count in range(1, len(messages)):
            if messages[count - 1]["role"] == "user" or count == 1:
                with contextlib.suppress(FobenchError):  # a template may refuse a conversation without a question
                    ends.add(common_prefix(self.chat(messages[:count]), ids))
        return sorted(ends - {0, len(ids)})

    def _enter(self, ids: Sequence[int], state: Any) -> tuple[torch.Tensor, Any]:
        """`_next` for token ids [T]."""
        return self._next(self.embed(torch.tensor([ids])), state)

    def _next(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """[1, T, D] inputs -> (logits [V] of the last position, state)."""
        _, logits, state = self.step(x, state, logits=1)
        return logits[0, -1], state


def no_chat_template(name: str) -> str:
    """The message for an LLM without a chat template."""
    return f"Backbone {name!r} has no chat template, which a conversation needs. Use its instruct variant."


class IncrementalDetokenizer:
    """Converts token ids to text one by one; a multi-byte character is emitted when it is complete.

    Special tokens are left out, except those that mark a thought (`fobench.api.thoughts`), as in Magistral.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._thought_tags = _thought_tags(tokenizer)
        self._ids: list[int] = []  # tokens of the last emitted text, and tokens not emitted yet
        self._num_emitted = 0  # how many of them have been emitted

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if token in self._thought_tags:
            text = self.flush() + self._thought_tags[token]
            self._ids, self._num_emitted = [], 0
            return text
        self._ids.append(token)
        before, text = self._decode(self._ids[: self._num_emitted]), self._decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        self._ids, self._num_emitted = self._ids[self._num_emitted :], len(self._ids) - self._num_emitted
        return text[len(before) :]

    def flush(self) -> str:
        """The remaining text at the end of the reply, without an incomplete character."""
        before, text = self._decode(self._ids[: self._num_emitted]), self._decode(self._ids)
        return text[len(before) :].rstrip("\ufffd")

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _thought_tags(tokenizer: Any) -> dict[int, str]:
    """{id: text} of the special tokens that mark a thought."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {id_: str(token) for id_, token in added.items() if TAG.fullmatch(str(token)) and token.special}


def _with_fixed_date(template: Any) -> Any:
    """The chat template with `TEMPLATE_DATE` as its current date.

    None (the tokenizer's own) if there are several named ones.
    """
    if not isinstance(template, str):
        return None
    return STRFTIME_CALL.sub(lambda call: repr(TEMPLATE_DATE.strftime(call[2])), template)


def _sample(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """A token id sampled from logits [V], on the CPU in float64, so that a seed gives the same token on every
    device.
    """
    if temperature <= 0:
        return int(logits.numpy().argmax()) if logits.device.type == "cpu" else int(logits.argmax())
    probabilities = torch.softmax(logits.double().cpu() / temperature, -1)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def end_ids(tokenizer: Any, configured: int | Sequence[int] | None = None) -> frozenset[int]:
    """All end-of-turn token ids: of the generation config, the tokenizer, and `END_OF_TURN_TOKENS` in the
    vocabulary.
    """
    ids = {configured} if isinstance(configured, int) else set(configured or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    return frozenset(ids | {vocabulary[token] for token in END_OF_TURN_TOKENS if token in vocabulary})
