"""A frozen text LLM from transformers, as the `Backbone` contract asks for it."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import torch
from transformers import DynamicCache

from fobench.errors import FobenchError
from fobench.types import Message
from fobench_plugins.backbones.matrices import Form
from fobench_plugins.backbones.packed import KVCache, PackedDecoder

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>", "<|endoftext|>")
TEMPLATE_DATE = datetime(
    2024, 7, 26
)  # what Llama 3's template says without a clock: prompts must not change with the day
TEMPLATE_OPTIONS = {
    "date_string": f"{TEMPLATE_DATE:%d %b %Y}",  # Llama 3
    "enable_thinking": False,  # Qwen3, SmolLM3: a spoken reply begins at once
}
NOW = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")  # SmolLM3


class CausalBackbone:
    """A causal language model with a chat template; parameters frozen, in evaluation mode.

    Every tensor that crosses this boundary is float32 on `device` (ids: int64). `step` extends the state it is given in
    place: `fork` it first to keep one. Gradients flow through `step` where its input asks for them, never into parameters.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, form: Form | None = None, packed: bool = True) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        self.hidden_size: int = config.hidden_size
        self.context: int = getattr(config, "max_position_embeddings", None) or 1 << 30  # positions
        self.device, self.dtype = model.get_input_embeddings().weight.device, model.dtype
        self.packed = PackedDecoder(model, form) if packed and PackedDecoder.fits(model) else None
        self.form = form if self.packed else None
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self.end_ids = _end_ids(model, tokenizer)

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {
            "backbone": self.name,
            "dtype": self.form or str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "forward": "packed" if self.packed else "transformers",
        }

    # ---- Text ----------------------------------------------------------------------------------------------------------

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

    def pieces(self) -> Pieces:
        """Turns the ids of one reply into text as they come."""
        return Pieces(self.tokenizer)

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
            _, logits, state = self._forward(self.embed(torch.tensor([ids])), state, 1)
            token = _sample(logits[0, -1], temperature, generator)
            if token in self.end_ids:
                break
            yield pieces.add(token)
            ids = [token]
        if rest := pieces.rest():
            yield rest

    # ---- Tensors -------------------------------------------------------------------------------------------------------

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embedded.float()

    def step(
        self, x: torch.Tensor, state: Any = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state). `logits`: of the last so many positions."""
        return self._forward(x, state, logits)

    def step_many(
        self, xs: Sequence[torch.Tensor], states: Sequence[Any], *, logits: Sequence[int | None]
    ) -> list[tuple[torch.Tensor, torch.Tensor, Any]]:
        """`step` of several conversations at once, each with its own length and state; the weights are read once for all."""
        packed = self.packed
        if packed is None or len(xs) == 1 or any(isinstance(state, DynamicCache) for state in states):
            return [self.step(x, s, logits=n) for x, s, n in zip(xs, states, logits, strict=True)]
        with torch.no_grad():
            hidden, caches = packed.together(xs, states)
            kept = [h[:, h.shape[1] - (h.shape[1] if n is None else n) :] for h, n in zip(hidden, logits, strict=True)]
            scores = [packed.logits(h) for h in kept]
        return list(zip(hidden, scores, caches, strict=True))

    def length(self, state: Any) -> int:
        """How many positions a state holds."""
        if state is None:
            return 0
        return state.length if isinstance(state, KVCache) else int(state.get_seq_length())

    def fork(self, state: Any) -> Any:
        """An independent copy."""
        if state is None or isinstance(state, KVCache):
            return state and state.copy()
        forked = copy.copy(state)  # its layers never change a tensor, they replace it
        forked.layers = [copy.copy(layer) for layer in state.layers]
        return forked

    def crop(self, state: Any, length: int) -> Any:
        """The same state, cut to its first `length` positions. Raises FobenchError if it has fewer."""
        have = self.length(state)
        if not 0 <= length <= have:
            raise FobenchError(f"A state of {have} positions cannot be cropped to {length}.")
        if length == 0:
            return None
        if isinstance(state, KVCache):
            return state.cut(length)
        state.crop(length - have)
        return state

    def parameter_hash(self) -> str:
        """SHA-256 over all parameters (name, dtype, shape, bytes), sorted by name."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.model.named_parameters()):
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _forward(self, x: torch.Tensor, state: Any, keep: int | None) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """`step`, by the packed decoder or, for other architectures and for gradients, by transformers itself."""
        learning = x.requires_grad and torch.is_grad_enabled()
        keep = x.shape[1] if keep is None else min(keep, x.shape[1])
        with torch.set_grad_enabled(learning):
            if self.packed is None or learning or isinstance(state, DynamicCache):
                return self._by_transformers(x, state, keep)
            hidden, state = self.packed(x, state)
            return hidden, self.packed.logits(hidden[:, x.shape[1] - keep :]), state

    def _by_transformers(self, x: torch.Tensor, state: Any, keep: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
        if isinstance(state, KVCache):
            kept = [buffer[:, :, : state.length].to(self.dtype) for buffer in (*state.keys, *state.values)]
            state = DynamicCache(list(zip(kept[: len(state.keys)], kept[len(state.keys) :], strict=True)))
        out = self.model(
            inputs_embeds=x.to(self.device, self.dtype),
            past_key_values=DynamicCache()
            if state is None
            else state,  # every position kept, so that any can be cropped to
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=keep or 1,  # 0 would mean all
        )
        logits = out.logits[:, out.logits.shape[1] - keep :]
        return out.hidden_states[-1].float(), logits.float(), out.past_key_values


class Pieces:
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


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a turn: the generation config's, the tokenizer's, and the usual names the vocabulary has."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = {configured} if isinstance(configured, int) else set(configured or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    return frozenset(ids | {vocabulary[token] for token in TURN_ENDS if token in vocabulary})
