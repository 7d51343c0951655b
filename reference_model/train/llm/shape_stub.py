"""A shape-only LLM for dry runs: the LLM's sizes with random weights, or without weights on the meta device.

It has the memory and time of the LLM, and needs no download.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fobench.api.types import Message
from fobench.errors import unknown

LETTERS = 4  # letters per token, approximately
SIZES: dict[str, dict[str, Any]] = {
    "qwen2-7b": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "smollm2-135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
}


class ShapeOnlyLLM:
    """The part of `fobench.api.components.Backbone` that training uses, with the sizes of the LLM `name`.

    On meta, call it under `MetaDeviceMode`.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModelForCausalLM

        config = load_config(name)
        with device:
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        self.name, self.model, self.device = name, model.eval().requires_grad_(False), device
        self.hidden_size, self.vocab_size = config.hidden_size, config.vocab_size
        self.context, self.end_ids = config.max_position_embeddings, frozenset({2})
        self.tokenizer = self

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embedded.float()

    def encode(self, text: str) -> list[int]:
        """Returns a token id for every four letters."""
        parts = (text[i : i + LETTERS] for i in range(0, len(text), LETTERS))
        return [8 + sum(map(ord, part)) % (self.vocab_size - 8) for part in parts]

    def decode(self, ids: Sequence[int]) -> str:
        return "x" * LETTERS * len(ids)

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Returns three tokens before each message and one after it, as in ChatML."""
        roles = {"system": 3, "user": 4, "assistant": 5}
        ids = [i for m in messages for i in (1, roles[m["role"]], 6, *self.encode(m["content"]), 2)]
        return [*ids, 1, 5, 6]

    def detokenizer(self) -> ShapeOnlyDetokenizer:
        return ShapeOnlyDetokenizer()

    def parameter_hash(self) -> str:
        return "random"


class ShapeOnlyDetokenizer:
    """Detokenizer of the shape-only LLM: a constant text for every token."""

    def push(self, token: int) -> str:
        return "x" * LETTERS

    def flush(self) -> str:
        return ""


def load_config(name: str) -> Any:
    """Returns the configuration of an LLM in `SIZES`, or of `hf:` and a folder or repository of the transformers
    library."""
    from transformers import AutoConfig

    if name.startswith("hf:"):
        return AutoConfig.from_pretrained(name.removeprefix("hf:")).get_text_config()
    if name not in SIZES:
        raise unknown("LLM for a dry run", name, [*SIZES, "hf:..."])
    sizes = dict(SIZES[name])
    return AutoConfig.for_model(sizes.pop("model_type"), **sizes)
