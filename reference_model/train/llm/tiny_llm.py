"""A tiny LLM for tests of the training stages: trained in seconds, saved in the format of the transformers library.

It copies the user's words under one system prompt, and answers a few memorized questions under another. Both are learned, so the
losses of stages that train through it can fall.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from fobench.api.types import Message

HIDDEN, LAYERS, VOCABULARY = 64, 3, 640
BATCH, LR, WARMUP = 32, 3e-3, 50
COPIED = (2, 9)  # words of a random line
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ("<|im_end|>", "<|im_start|>")
IGNORED = -100


def train_tokenizer(texts: Sequence[str]) -> Any:
    """Trains a byte-level BPE tokenizer on the texts: most of their words are one token, and any text can be
    encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=list(SPECIALS), show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=SPECIALS[0])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIALS[1:])})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def train_tiny_llm(
    folder: Path, answers: Mapping[str, str], system: str, copy_prompt: str, steps: int, seed: int = 0
) -> float:
    """Trains a tiny LLM, saves it in `folder` and returns the last loss.

    `answers`: by question, under the system prompt `system`; `copy_prompt`: the system prompt under which it copies the user's words.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    lines = [*answers, *answers.values()]
    tokenizer = train_tokenizer(
        [*lines, *[f" {line}" for line in lines], system, copy_prompt, "user assistant system"] * 2
    )
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        tie_word_embeddings=False,
    )
    model = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.98))
    loss = torch.tensor(0.0)
    for step, (ids, targets) in enumerate(
        _batches(tokenizer, lines, answers, system, copy_prompt, random.Random(seed))
    ):
        if step == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / WARMUP, 2 * (steps - step) / steps)
        logits = model(input_ids=ids).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return float(loss.detach())


def _batches(
    tokenizer: Any, lines: Sequence[str], answers: Mapping[str, str], system: str, copy_prompt: str, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields ids and targets [B, T] with a loss on the assistant's tokens only.

    Three of four conversations are copied lines.
    """
    vocabulary = sorted({word for line in lines for word in line.split()})
    while True:
        conversations = []
        for number in range(BATCH):
            if number % 4 == 0:
                question = rng.choice(list(answers))
                conversations.append((system, question, answers[question]))
            else:
                line = (
                    rng.choice(lines)
                    if rng.random() < 0.2
                    else " ".join(rng.choices(vocabulary, k=rng.randint(*COPIED)))
                )
                conversations.append((copy_prompt, line, line))
        yield _pad([_conversation(tokenizer, *one) for one in conversations], tokenizer.eos_token_id)


def _conversation(tokenizer: Any, system: str, question: str, reply: str) -> tuple[list[int], list[int]]:
    """Returns (ids, targets) with the reply and its end as targets."""
    messages: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    options = {"tokenize": True, "return_dict": False, "add_generation_prompt": True}
    before = tokenizer.apply_chat_template(messages, **options)
    after = [*tokenizer.encode(reply, add_special_tokens=False), tokenizer.eos_token_id]
    return before + after[:-1], [IGNORED] * (len(before) - 1) + after


def _pad(pairs: Sequence[tuple[list[int], list[int]]], end: int) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.tensor(one) for one, _ in pairs], batch_first=True, padding_value=end)
    targets = pad([torch.tensor(one) for _, one in pairs], batch_first=True, padding_value=IGNORED)
    return ids, targets
