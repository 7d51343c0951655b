"""Frozen LLMs of real sizes with random weights, and a tokenizer, without a network: for speed and memory, never for quality."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import torch
import transformers

from fobench_plugins.backbones.transformers_backbone import CausalBackbone

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END, START = "<|im_end|>", "<|im_start|>"
SIZES: dict[str, tuple[type[transformers.PretrainedConfig], dict[str, Any]]] = {
    "qwen2-7b": (  # config.json of Qwen/Qwen2-7B-Instruct
        transformers.Qwen2Config,
        {
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32_768,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
    ),
    "smollm2-135m": (  # config.json of HuggingFaceTB/SmolLM2-135M-Instruct
        transformers.LlamaConfig,
        {
            "vocab_size": 49_152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_theta": 1e5,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
        },
    ),
    "tiny": (
        transformers.Qwen2Config,
        {
            "vocab_size": 1500,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
        },
    ),
}
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
LETTERS = 7  # most letters of a made-up word
ENDING, STOP = 10, 3  # one in so many words ends a clause, and one in so many of these a sentence


def backbone(size: str, device: str, dtype: torch.dtype, *, seed: int = 0) -> CausalBackbone:
    """An LLM of `SIZES`, its weights drawn on `device` itself (nothing of 15 GB is copied), with `tokenizer`."""
    config_class, sizes = SIZES[size]
    words = tokenizer(sizes["vocab_size"])
    end = words.eos_token_id
    config = config_class(**sizes, eos_token_id=end, bos_token_id=None, pad_token_id=end)
    torch.manual_seed(seed)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return CausalBackbone(model.to(device), words, name=f"random:{size}")


def tokenizer(size: int) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `size` tokens: bytes, made-up words, words that end a clause or a sentence, marks of turns.

    Text is encoded in bytes and in made-up words, one token each, so that what a random LLM writes has as many tokens as it
    generated.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = [*signs, START, END], []
    for stem, letter in itertools.islice(_words(), size - len(pieces) - size // ENDING):
        merges.append((stem, letter))
        pieces.append(stem + letter)
    for number, stem in enumerate(pieces[-(size - len(pieces)) :] if size > len(pieces) else ()):  # these only decode
        pieces.append(stem + ("," if number % STOP else "."))
    made = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)
    fast.add_special_tokens({"additional_special_tokens": [START]})
    fast.chat_template = CHATML
    return fast


def _words() -> Iterator[tuple[str, str]]:
    """(a word without its last letter, that letter), shorter words first; consonants and vowels alternate."""
    stems = ["Ġ"]  # the space before a word, in the alphabet of byte-level BPE
    for length in itertools.count(1):
        if length > LETTERS:
            sys.exit(f"A vocabulary needs words of more than {LETTERS} letters")
        grown = []
        for stem in stems:
            for letter in CONSONANTS if length % 2 else VOWELS:
                yield stem, letter
                grown.append(stem + letter)
        stems = grown
