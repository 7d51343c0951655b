"""Tiny random LLMs of each shape, saved to disk as a user's would be."""

import torch
import transformers

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
SHAPES = {  # name: (configuration, further arguments, which forward pass it gets)
    "llama": (transformers.LlamaConfig, {}, "packed"),
    "qwen2": (transformers.Qwen2Config, {"tie_word_embeddings": True}, "packed"),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 8}, "transformers"),
}


def tiny_tokenizer(template=TEMPLATE):
    """Byte-level: every text can be said, and a token may be a part of a character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: i for i, sign in enumerate([*alphabet, "<|im_start|>", "<|im_end|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = template
    return fast


def save(shape, folder):
    """Saves a random model of a shape, with its tokenizer, in transformers' layout; returns the folder."""
    config, further, _ = SHAPES[shape]
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    eos = tokenizer.eos_token_id
    model = transformers.AutoModelForCausalLM.from_config(
        config(vocab_size=len(tokenizer), eos_token_id=eos, bos_token_id=eos, pad_token_id=eos, **SIZES, **further)
    )
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
