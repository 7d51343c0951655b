"""Tiny random LLMs of each architecture, each with a chat template in its family's form, saved as transformers saves them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
import transformers

from fobench.api import registry

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "<bos>{% set first = namespace(text='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set first.text = m['content'] + '\n\n' %}{% else %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ first.text }}{{ m['content'] | trim }}<end_of_turn>\n"
    "{% set first.text = '' %}{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SIZES = {
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
SHAPES = {  # name: configuration, further arguments, template, special tokens (the first ends a turn)
    "qwen2": (transformers.Qwen2Config, {}, CHATML, ("<|im_end|>", "<|im_start|>")),
    "smollm2": (transformers.LlamaConfig, {"tie_word_embeddings": True}, CHATML, ("<|im_end|>", "<|im_start|>")),
    "llama3": (
        transformers.LlamaConfig,
        {},
        LLAMA3,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "gemma3": (
        transformers.Gemma3TextConfig,
        {"head_dim": 16, "sliding_window": 32, "query_pre_attn_scalar": 16},
        GEMMA,
        ("<end_of_turn>", "<bos>", "<start_of_turn>"),
    ),
}
MISTRAL = (
    "<s>{% set first = namespace(text='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set first.text = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}[INST] {{ first.text }}{{ m['content'] }}[/INST]{% set first.text = '' %}"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
THINKING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}{% endif %}",
)
DATED = "<|im_start|>system\nToday is {{ strftime_now('%d %B %Y') }}.<|im_end|>\n" + CHATML
FURTHER = {  # architectures that nothing but the backbones' own tests needs
    "qwen3": (transformers.Qwen3Config, {"head_dim": 16}, THINKING, ("<|im_end|>", "<|im_start|>")),
    "smollm3": (
        transformers.SmolLM3Config,
        {"no_rope_layer_interval": 2},
        DATED,
        ("<|im_end|>", "<|im_start|>"),
    ),
    "mistral": (transformers.MistralConfig, {"sliding_window": None}, MISTRAL, ("</s>", "<s>")),
    "phi3": (transformers.Phi3Config, {}, PHI, ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")),
}


def tokenizer(template, specials):
    """Byte-level: every text can be said, and a token may be a part of a character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *specials]
    made = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(signs)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=specials[0])
    fast.add_special_tokens({"additional_special_tokens": list(specials[1:])})
    fast.chat_template = template
    return fast


@cache
def folder(shape: str, hidden: int = 64) -> Path:
    """A folder with the random model `shape`, hidden size `hidden`."""
    config, further, template, specials = (SHAPES | FURTHER)[shape]
    words = tokenizer(template, specials)
    end = words.eos_token_id
    torch.manual_seed(0)
    ids = {"vocab_size": len(words), "eos_token_id": end, "bos_token_id": end, "pad_token_id": end}
    model = transformers.AutoModelForCausalLM.from_config(config(hidden_size=hidden, **ids, **SIZES, **further))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
    made = Path(mkdtemp(prefix=f"fobench-{shape}-"))
    model.save_pretrained(made)
    words.save_pretrained(made)
    return made


def backbone(shape: str, hidden: int = 64):
    """The backbone plugin on such a model, float32 on the CPU."""
    options = {"device": "cpu", "dtype": "float32", "threads": "1"}
    return registry.create("backbones", f"hf:{folder(shape, hidden)}", options)
