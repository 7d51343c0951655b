"""A tiny random Llama as a GGUF file, in float32 or quantized, with a byte tokenizer; any of it can be left out or replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

WIDTH, WORDS = 64, 300
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
LAYER = {
    "attn_norm": (WIDTH,),
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH // 2, WIDTH),
    "attn_v": (WIDTH // 2, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_norm": (WIDTH,),
    "ffn_gate": (96, WIDTH),
    "ffn_up": (96, WIDTH),
    "ffn_down": (WIDTH, 96),
}
SHAPES = {
    "token_embd.weight": (WORDS, WIDTH),
    "output_norm.weight": (WIDTH,),
    **{f"blk.{layer}.{name}.weight": shape for layer in range(2) for name, shape in LAYER.items()},
}
Tensors = dict[str, np.ndarray]


def write(
    path: Path,
    change: Callable[[Tensors], object] = lambda tensors: None,
    template: str | None = CHAT_TEMPLATE,
    kind: str = "F32",
) -> Path:
    """Writes the file, its tensors after `change`, the matrices as `kind`, Q8_0 for example; returns its path."""
    import gguf

    writer, draw = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    _vocabulary(writer)
    if template is not None:
        writer.add_chat_template(template)
    tensors = {
        name: (np.ones(shape) if "norm" in name else 0.2 * draw.standard_normal(shape)).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    change(tensors)
    for name, values in tensors.items():
        if kind != "F32" and values.ndim > 1:
            stored = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quantize(values, stored), raw_dtype=stored)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(writer) -> None:
    """GPT-2's 256 signs for bytes, one merge, and the two marks of a chat turn."""
    from tokenizers import pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*signs, "th", "<|im_start|>", "<|im_end|>"]
    words += [f"<|spare{i}|>" for i in range(WORDS - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([1 if len(word) <= 2 else 3 for word in words])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(words.index("<|im_end|>"))
    writer.add_bos_token_id(words.index("<|im_start|>"))
