"""Trains output stage 2 of `small`: text -> codec tokens, from pairs of text and speech; the LLM's embeddings stay as they are.

python -m reference_model.train.output_2 --data runs/data/output --codec runs/train/output-1 --out runs/train/output-2
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fobench import plugins
from reference_model import weights
from reference_model.codec import CodecConfig, ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.speech_decoder import SpeechDecoder
from reference_model.spoken_text import normalise, pieces_of
from reference_model.train.batches import Batches
from reference_model.train.corpus import Corpus
from reference_model.train.engine import MODEL, Loop, Trainer, checkpoints, to_device
from reference_model.train.latents import piper_generator


@dataclass(frozen=True, slots=True)
class Spoken:
    """Texts as token ids and pieces, their codes [B, K, T] padded with 0, of `lengths` [B] frames."""

    ids: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    codes: Tensor
    lengths: Tensor


class SpeakingLearner(nn.Module):
    """The speech decoder; the LLM's embeddings [V, D] are no part of it."""

    def __init__(self, decoder: SpeechDecoder, embeddings: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self._embeddings = [embeddings]

    def forward(self, batch: Spoken) -> dict[str, Tensor]:
        rows = [self.rows(ids, pieces) for ids, pieces in zip(batch.ids, batch.pieces, strict=True)]
        lengths = torch.tensor([row.shape[1] for row in rows], device=rows[0].device)
        text = nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
        codes, frames = to_device(batch.codes, self), to_device(batch.lengths, self)
        logits, total = self.decoder(text, lengths, codes, frames)
        _, targets = self.decoder.delayed(codes, frames)
        counted = targets >= 0
        right = (logits.argmax(-1) == targets) & counted
        return {"loss": total, "count": counted.sum().float(), "right": right.sum().float()}

    def rows(self, ids: Sequence[int], pieces: Sequence[str]) -> Tensor:
        """A text as the decoder reads it [1, R, d]."""
        vectors = self._embeddings[0][torch.tensor(ids)].to(next(self.parameters()).device)
        return self.decoder.text_rows(vectors, pieces)


@dataclass(slots=True)
class SpeakingStage:
    module: SpeakingLearner
    train: list[tuple[tuple[int, ...], tuple[str, ...], Tensor]]
    valid: list[tuple[tuple[int, ...], tuple[str, ...], Tensor]]
    frame_rate_hz: float
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "output-2"

    def batches(self, loop: Loop) -> Batches:
        return Batches(
            [c.shape[1] / self.frame_rate_hz for _, _, c in self.train], loop.batch_s, loop.batch_most, loop.seed
        )

    def load(self, indices: Sequence[int], epoch: int) -> Spoken:
        return collate([self.train[i] for i in indices])

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        return [{"params": [p for n, p in self.module.named_parameters() if ".prefix." not in n], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        sums = {"loss": 0.0, "right": 0.0, "count": 0.0}
        for begin in range(0, len(self.valid), 16):
            found = self.module(collate(self.valid[begin : begin + 16]))
            sums = {k: v + float(found[k]) for k, v in sums.items()}
        return {k: sums[k] / sums["count"] for k in ("loss", "right")}


def collate(clips: Sequence[tuple[tuple[int, ...], tuple[str, ...], Tensor]]) -> Spoken:
    ids, pieces, codes = zip(*clips, strict=True)
    lengths = torch.tensor([c.shape[1] for c in codes])
    padded = torch.zeros(len(codes), codes[0].shape[0], int(lengths.max()), dtype=torch.long)
    for row, c in enumerate(codes):
        padded[row, :, : c.shape[1]] = c
    return Spoken(ids, pieces, padded, lengths)


def load_codec(folder: Path) -> ReferenceCodec:
    """The newest codec of output stage 1, with the generator that it was trained for."""
    data, tensors = weights.load(checkpoints(folder)[-1] / MODEL)
    codec = ReferenceCodec(CodecConfig.from_json(data["codec"]))
    tensors.pop("steps")
    own = {f"generator.{k}": v for k, v in piper_generator().state_dict().items()}
    weights.fill(codec, {**tensors, **own}, folder)
    return codec.eval()


@torch.no_grad()
def encoded(codec: ReferenceCodec, corpus: Corpus, cache: Path) -> dict[str, Tensor]:
    """Every clip's codes [K, F] int64, kept in a file."""
    found = load_file(cache) if cache.is_file() else {}
    missing = [i for i, entry in enumerate(corpus.entries) if entry.id not in found]
    for index in missing:
        samples = corpus.samples(index)
        if samples is not None:
            found[corpus.entries[index].id] = codec.encode(torch.from_numpy(samples)[None])[0].short()
    if missing:
        save_file(found, cache)
    return {k: v.long() for k, v in found.items()}


@click.command()
@click.option("--data", multiple=True, type=Path, required=True)
@click.option("--codec", "codec_folder", type=Path, required=True)
@click.option("--out", type=Path, required=True)
@click.option("--set", "pairs", multiple=True, help="NAME=VALUE of the loop.")
def main(data: Sequence[Path], codec_folder: Path, out: Path, pairs: Sequence[str]) -> None:
    options = {k: json.loads(v) for k, v in (p.split("=") for p in pairs)}
    loop = Loop(
        **{
            "lr": 1e-3,
            "steps": 8000,
            "warmup": 200,
            "validate_every": 250,
            "batch_s": 80.0,
            "precision": "bf16",
            **options,
        }
    )
    torch.manual_seed(loop.seed)
    out.mkdir(parents=True, exist_ok=True)
    codec = load_codec(codec_folder)
    backbone = plugins.create("backbones", "smollm2-135m", {"device": "cpu"})
    sets = {}
    for split in ("train", "valid"):
        corpus = Corpus.open(data, codec.sample_rate_hz, split)
        codes = encoded(codec, corpus, out / f"codes-{split}.safetensors")
        texts = {e.id: backbone.encode(normalise(e.text)) for e in corpus.entries}
        sets[split] = [
            (tuple(texts[e.id]), pieces_of(backbone.pieces(), texts[e.id]), codes[e.id])
            for e in corpus.entries
            if e.id in codes
        ]
        print(split, len(sets[split]), f"{corpus.hours:.1f} h", flush=True)
    embeddings = backbone.embed(torch.arange(backbone.vocab_size)[None])[0].float().clone()
    config = dataclasses.replace(ModelConfig.load("small").decoder, thoughts=False)  # output stage 3 adds them
    module = SpeakingLearner(SpeechDecoder(config), embeddings)
    stage = SpeakingStage(
        module, sets["train"], sets["valid"], codec.config.frame_rate_hz, {"decoder": dataclasses.asdict(config)}
    )
    for row in Trainer(stage, loop, out).run():
        if row["step"] % 20 == 0:
            print({k: round(float(v), 4) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main()
