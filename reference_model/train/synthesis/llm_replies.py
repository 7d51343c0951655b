"""Replies of the frozen LLM to questions in text (paper, input stage 3 and output stage 3).

    fobench train replies --plan runs/data/input --count 4000 \\
        --out runs/data/replies.jsonl

The output has one line per question: {"id", "question", "reply"}. A second run resumes. Questions of equal length form
a batch without padding; decoding is greedy, without a rule on repetitions.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from transformers import DynamicCache

from fobench.api import registry
from fobench.api.thoughts import without_thoughts
from fobench.api.types import Message
from reference_model.config import Settings
from reference_model.speech_output.segmenter import token_texts
from reference_model.train.engine.command import StageCommand
from reference_model.train.synthesis import render_plan
from reference_model.train.texts.llm_sentences import read_lines

log = logging.getLogger("replies")
QUESTION_KINDS = ("question", "command", "talk")  # kinds of text that are answered
BATCH = 48  # questions


@torch.inference_mode()
def generate(backbone: Any, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Returns the greedily generated tokens [<= max_tokens] of each prompt, without the end of turn.

    Prompts have equal lengths.
    """
    rows, finished = torch.arange(len(prompts)), torch.zeros(len(prompts), dtype=torch.bool)
    tokens: list[list[int]] = [[] for _ in prompts]
    ids, cache = torch.tensor(prompts, device=backbone.device), DynamicCache()
    ends = torch.tensor(sorted(backbone.end_ids))
    for _ in range(max_tokens):
        hidden = backbone.model.base_model(input_ids=ids, past_key_values=cache).last_hidden_state
        ids = backbone.model.get_output_embeddings()(hidden[:, -1].contiguous()).argmax(-1, keepdim=True)
        finished |= torch.isin(ids[:, 0].cpu(), ends)
        for row, token in zip(rows[~finished].tolist(), ids[:, 0].cpu()[~finished].tolist(), strict=True):
            tokens[row].append(token)
        if finished.all():
            break
        if finished.sum() * 4 >= len(rows):  # finished rows leave the batch
            kept = (~finished).nonzero()[:, 0]
            cache.batch_select_indices(kept.to(ids.device))
            ids, rows, finished = ids[kept.to(ids.device)], rows[kept], finished[kept]
    return tokens


def generate_replies(
    backbone: Any, questions: Sequence[tuple[str, str]], settings: Settings
) -> Iterator[dict[str, str]]:
    """Yields {"id", "question", "reply"} for each (id, question), with the token limit of the live system."""
    groups: defaultdict[int, list[tuple[str, str, list[int]]]] = defaultdict(list)
    for name, question in questions:
        user_turn: list[Message] = [{"role": "user", "content": question}]
        ids = backbone.chat(
            [*([{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []), *user_turn]
        )
        groups[len(ids)].append((name, question, ids))
    for _, members in sorted(groups.items()):
        for begin in range(0, len(members), BATCH):
            batch = members[begin : begin + BATCH]
            generated = generate(backbone, [ids for _, _, ids in batch], settings.max_tokens)
            for (name, question, _), tokens in zip(batch, generated, strict=True):
                reply = "".join(token_texts(backbone.detokenizer(), tokens))
                yield {"id": name, "question": question, "reply": without_thoughts(reply)}


def planned_questions(folder: Path, count: int) -> list[tuple[str, str]]:
    """Returns (id, text) of the first `count` items of a plan that are answered, each text once."""
    items, _ = render_plan.read(folder) or ([], {})
    texts = {item.text: item.id for item in items if item.kind in QUESTION_KINDS}
    return [(name, text) for text, name in list(texts.items())[:count]]


@click.command(cls=StageCommand, help=__doc__)
@click.option(
    "--plan", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of a set with a plan."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of the replies, JSON lines.")
@click.option("--count", type=click.IntRange(1, 10_000_000), default=4000, show_default=True)
@click.option("--backbone", default="smollm2-135m", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--device", default=None)
def main(folder: Path, out: Path, count: int, backbone: str, dtype: str, device: str | None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %H:%M:%S")
    answered = {line["id"] for line in read_lines(out)} if out.exists() else set()
    todo = [pair for pair in planned_questions(folder, count) if pair[0] not in answered]
    model = registry.create("backbones", backbone, {"dtype": dtype, "device": device or "cpu"})
    with out.open("a", encoding="utf-8") as file:
        for number, line in enumerate(generate_replies(model, todo, Settings()), 1):
            file.write(json.dumps(line) + "\n")
            if number % 240 == 0:
                file.flush()
                log.info("%d of %d", number, len(todo))


if __name__ == "__main__":
    main()
