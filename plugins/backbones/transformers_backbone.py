"""A frozen LLM of transformers under the `Backbone` contract."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from fobench.errors import FobenchError
from fobench_plugins.backbones.chat_template import ChatTemplate, end_ids
from fobench_plugins.backbones.packed_decoder import PackedDecoder, PackedKVCache


class CausalBackbone(ChatTemplate):
    """A causal language model with a chat template; parameters are frozen, the model is in evaluation mode.

    Inputs and outputs are float32 on `device` (ids: int64). `step` extends its state in place: `fork` a state to keep
    it. Gradients flow through `step` if its input requires them, never into parameters.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        self.hidden_size: int = config.hidden_size
        self.context: int = getattr(config, "max_position_embeddings", None) or 1 << 30  # positions
        self.device, self.dtype = model.get_input_embeddings().weight.device, model.dtype
        self.packed = PackedDecoder(model) if PackedDecoder.supports(model) else None
        self.num_embeddings = model.get_input_embeddings().weight.shape[0]
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self.end_ids = end_ids(tokenizer, model.generation_config and model.generation_config.eos_token_id)

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {
            "backbone": self.name,
            "engine": "torch",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "generation": self.generation,
            "threads": torch.get_num_threads(),
            "forward": "packed" if self.packed else "transformers",
        }

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embedded.float()

    def step(
        self, x: torch.Tensor, state: Any = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state).

        `logits`: compute them for that many last positions only.
        """
        return self._forward(x, state, logits)

    def step_many(
        self, xs: Sequence[torch.Tensor], states: Sequence[Any], *, logits: Sequence[int | None]
    ) -> list[tuple[torch.Tensor, torch.Tensor, Any]]:
        """`step` for several conversations, each with its own length and state; the weights are read once for all of
        them.
        """
        packed = self.packed
        if packed is None or len(xs) == 1 or any(isinstance(state, DynamicCache) for state in states):
            return [self.step(x, s, logits=n) for x, s, n in zip(xs, states, logits, strict=True)]
        with torch.no_grad():
            hidden, caches = packed.forward_many(xs, states)
            cached = [
                h[:, h.shape[1] - (h.shape[1] if n is None else n) :] for h, n in zip(hidden, logits, strict=True)
            ]
            scores = [packed.logits(h) for h in cached]
        return list(zip(hidden, scores, caches, strict=True))

    def length(self, state: Any) -> int:
        """Number of positions in a state."""
        if state is None:
            return 0
        return state.length if isinstance(state, PackedKVCache) else int(state.get_seq_length())

    def fork(self, state: Any) -> Any:
        """An independent copy."""
        if state is None or isinstance(state, PackedKVCache):
            return state and state.copy()
        forked = copy.copy(state)  # a layer never modifies a tensor in place, it replaces it
        forked.layers = [copy.copy(layer) for layer in state.layers]
        return forked

    def crop(self, state: Any, length: int) -> Any:
        """The same state, truncated to its first `length` positions. Raises FobenchError if it has fewer."""
        have = self.length(state)
        if not 0 <= length <= have:
            raise FobenchError(f"A state of {have} positions cannot be cropped to {length}.")
        if length == 0:
            return None
        if isinstance(state, PackedKVCache):
            return state.truncate(length)
        state.crop(length - have)
        return state

    def parameter_hash(self) -> str:
        """SHA-256 over all parameters (name, dtype, shape, bytes), sorted by name."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.model.named_parameters()):
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _forward(self, x: torch.Tensor, state: Any, num_logits: int | None) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """`step` by the packed decoder or, for other architectures and for gradients, by transformers."""
        needs_grad = x.requires_grad and torch.is_grad_enabled()
        num_logits = x.shape[1] if num_logits is None else min(num_logits, x.shape[1])
        with torch.set_grad_enabled(needs_grad):
            if self.packed is None or needs_grad or isinstance(state, DynamicCache):
                return self._by_transformers(x, state, num_logits)
            hidden, state = self.packed(x, state)
            return hidden, self.packed.logits(hidden[:, x.shape[1] - num_logits :]), state

    def _by_transformers(self, x: torch.Tensor, state: Any, num_logits: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
        if isinstance(state, PackedKVCache):
            cached = [buffer[:, :, : state.length].to(self.dtype) for buffer in (*state.keys, *state.values)]
            state = DynamicCache(list(zip(cached[: len(state.keys)], cached[len(state.keys) :], strict=True)))
        out = self.model(
            inputs_embeds=x.to(self.device, self.dtype),
            past_key_values=DynamicCache()
            if state is None
            else state,  # keeps every position, so that the state can be cropped
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=num_logits or 1,  # 0 would mean all
        )
        logits = out.logits[:, out.logits.shape[1] - num_logits :]
        return out.hidden_states[-1].float(), logits.float(), out.past_key_values
