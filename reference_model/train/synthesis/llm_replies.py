"""Answers that the frozen LLM itself gives to questions in writing (paper, input stage 3 and output stage 3).

    python -m reference_model.train.synthesis.llm_replies --plan runs/data/input --out runs/data/replies.jsonl --count 4000

A line a question: {"id", "question", "reply"}. Run it again to go on where it was. Questions of one length are answered together,
so that none of them is padded; greedy, as the reference system answers.
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
from fobench.api.types import Message
from reference_model.config import Settings
from reference_model.speech_output.segmenter import pieces_of
from reference_model.train.synthesis import render_plan
from reference_model.train.texts.llm_sentences import read_lines

log = logging.getLogger("replies")
ASKS = ("question", "command", "talk")  # kinds of text that want an answer
BATCH = 48


@torch.inference_mode()
def replies(backbone: Any, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """The tokens [<= most] that follow each of the prompts, which must be of one length; the end of turn is not among them."""
    going, over = torch.arange(len(prompts)), torch.zeros(len(prompts), dtype=torch.bool)
    tokens: list[list[int]] = [[] for _ in prompts]
    ids, cache = torch.tensor(prompts, device=backbone.device), DynamicCache()
    ends = torch.tensor(sorted(backbone.end_ids))
    for _ in range(most):
        hidden = backbone.model.base_model(input_ids=ids, past_key_values=cache).last_hidden_state
        ids = backbone.model.get_output_embeddings()(hidden[:, -1].contiguous()).argmax(-1, keepdim=True)
        over |= torch.isin(ids[:, 0].cpu(), ends)
        for row, token in zip(going[~over].tolist(), ids[:, 0].cpu()[~over].tolist(), strict=True):
            tokens[row].append(token)
        if over.all():
            break
        if over.sum() * 4 >= len(going):  # those that have ended are left out
            kept = (~over).nonzero()[:, 0]
            cache.batch_select_indices(kept.to(ids.device))
            ids, going, over = ids[kept.to(ids.device)], going[kept], over[kept]
    return tokens


def answered(backbone: Any, questions: Sequence[tuple[str, str]], settings: Settings) -> Iterator[dict[str, str]]:
    """Each (id, question) with the backbone's reply, cut where the live system would cut it."""
    groups: defaultdict[int, list[tuple[str, str, list[int]]]] = defaultdict(list)
    for name, question in questions:
        said: list[Message] = [{"role": "user", "content": question}]
        ids = backbone.chat(
            [*([{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []), *said]
        )
        groups[len(ids)].append((name, question, ids))
    for _, members in sorted(groups.items()):
        for begin in range(0, len(members), BATCH):
            batch = members[begin : begin + BATCH]
            found = replies(backbone, [ids for _, _, ids in batch], settings.max_tokens)
            for (name, question, _), tokens in zip(batch, found, strict=True):
                yield {"id": name, "question": question, "reply": "".join(pieces_of(backbone.pieces(), tokens))}


def asked(folder: Path, count: int) -> list[tuple[str, str]]:
    """(id, text) of the first `count` of a plan's items that want an answer, each text once."""
    items, _ = render_plan.read(folder) or ([], {})
    texts = {item.text: item.id for item in items if item.kind in ASKS}
    return [(name, text) for text, name in list(texts.items())[:count]]


@click.command(help=__doc__)
@click.option(
    "--plan", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of a planned set."
)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--count", default=4000, show_default=True)
@click.option("--backbone", default="smollm2-135m", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--device", default=None)
def main(folder: Path, out: Path, count: int, backbone: str, dtype: str, device: str | None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %H:%M:%S")
    known = {line["id"] for line in read_lines(out)} if out.exists() else set()
    todo = [pair for pair in asked(folder, count) if pair[0] not in known]
    model = registry.create("backbones", backbone, {"dtype": dtype, "device": device or "cpu"})
    with out.open("a", encoding="utf-8") as file:
        for number, line in enumerate(answered(model, todo, Settings()), 1):
            file.write(json.dumps(line) + "\n")
            if number % 240 == 0:
                file.flush()
                log.info("%d of %d", number, len(todo))


if __name__ == "__main__":
    main()
