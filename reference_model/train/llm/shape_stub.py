"""A stand-in for a frozen LLM: its sizes and random weights, or on the meta device none at all. It costs what the LLM costs.

A dry run needs memory and time, never an answer; so it needs no download, and no more memory than it is about to tell of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fobench.api.types import Message
from fobench.errors import unknown

LETTERS = 4  # of a token, about
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
    """What training asks of a backbone (`fobench.api.components.Backbone`), of the LLM `name` on a device. Call it under `Shapes` on meta."""

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModelForCausalLM

        config = config_of(name)
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
        """A token for every few letters."""
        parts = (text[i : i + LETTERS] for i in range(0, len(text), LETTERS))
        return [8 + sum(map(ord, part)) % (self.vocab_size - 8) for part in parts]

    def decode(self, ids: Sequence[int]) -> str:
        return "x" * LETTERS * len(ids)

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Three tokens before each message and one after it, as ChatML has."""
        roles = {"system": 3, "user": 4, "assistant": 5}
        said = [i for m in messages for i in (1, roles[m["role"]], 6, *self.encode(m["content"]), 2)]
        return [*said, 1, 5, 6]

    def pieces(self) -> ShapeOnlyDetokenizer:
        return ShapeOnlyDetokenizer()

    def parameter_hash(self) -> str:
        return "random"


class ShapeOnlyDetokenizer:
    """Every token's text."""

    def add(self, token: int) -> str:
        return "x" * LETTERS

    def rest(self) -> str:
        return ""


def config_of(name: str) -> Any:
    """The configuration of an LLM whose sizes are known here, or of `hf:` a folder or repository of the transformers library."""
    from transformers import AutoConfig

    if name.startswith("hf:"):
        return AutoConfig.from_pretrained(name.removeprefix("hf:")).get_text_config()
    if name not in SIZES:
        raise unknown("LLM for a dry run", name, [*SIZES, "hf:..."])
    sizes = dict(SIZES[name])
    return AutoConfig.for_model(sizes.pop("model_type"), **sizes)
