"""A tiny LLM to try the trainer with: made and trained here in seconds, saved as the transformers library saves one.

It can do two things: write down the words that it is given when asked to (which takes nothing but copying), and answer a few
questions by heart. That is little, but really learnt: a stage that learns through it has something to reach.
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
COPIED = (2, 9)  # words of a made-up line
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ("<|im_end|>", "<|im_start|>")
IGNORED = -100


def tokenizer(texts: Sequence[str]) -> Any:
    """Byte-level BPE, learnt from the texts: most of their words are one token, and any text can be written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=list(SPECIALS), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIALS[0])
    fast.add_special_tokens({"additional_special_tokens": list(SPECIALS[1:])})
    fast.chat_template = TEMPLATE
    return fast


def make(folder: Path, answers: Mapping[str, str], system: str, copying: str, steps: int, seed: int = 0) -> float:
    """Trains one and saves it in `folder`; the last loss.

    `answers`: by question, under the system prompt `system`; `copying`: the system prompt under which it writes down what it is told.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    lines = [*answers, *answers.values()]
    words = tokenizer([*lines, *[f" {line}" for line in lines], system, copying, "user assistant system"] * 2)
    torch.manual_seed(seed)
    end = words.eos_token_id
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(words),
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
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.98))
    loss = torch.tensor(0.0)
    for step, (ids, targets) in enumerate(_batches(words, lines, answers, system, copying, random.Random(seed))):
        if step == steps:
            break
        for group in optimiser.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / WARMUP, 2 * (steps - step) / steps)
        logits = model(input_ids=ids).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return float(loss.detach())


def _batches(
    words: Any, lines: Sequence[str], answers: Mapping[str, str], system: str, copying: str, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and targets [B, T]: only what the assistant says is to be learnt. Three conversations of four are copied lines."""
    known = sorted({word for line in lines for word in line.split()})
    while True:
        said = []
        for number in range(BATCH):
            if number % 4 == 0:
                question = rng.choice(list(answers))
                said.append((system, question, answers[question]))
            else:
                line = rng.choice(lines) if rng.random() < 0.2 else " ".join(rng.choices(known, k=rng.randint(*COPIED)))
                said.append((copying, line, line))
        yield _padded([_conversation(words, *one) for one in said], words.eos_token_id)


def _conversation(words: Any, system: str, asked: str, reply: str) -> tuple[list[int], list[int]]:
    """(ids, targets): the reply and its end are to be predicted."""
    messages: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    options = {"tokenize": True, "return_dict": False, "add_generation_prompt": True}
    before = words.apply_chat_template(messages, **options)
    after = [*words.encode(reply, add_special_tokens=False), words.eos_token_id]
    return before + after[:-1], [IGNORED] * (len(before) - 1) + after


def _padded(pairs: Sequence[tuple[list[int], list[int]]], end: int) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.tensor(one) for one, _ in pairs], batch_first=True, padding_value=end)
    targets = pad([torch.tensor(one) for _, one in pairs], batch_first=True, padding_value=IGNORED)
    return ids, targets
