"""Trains input stage 1 of `small`: speech -> units of writing, by CTC, from Whisper tiny.en's encoder made chunk-causal.

python -m reference_model.train.input_1 --data runs/data/input --out runs/train/input-1 --steps 6000
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from fobench import assets
from reference_model.spelling import SpellingAdapter, SpellingConfig
from reference_model.train.augment import Augmentation, Sounds
from reference_model.train.corpus import Corpus, Entry
from reference_model.train.engine import Loop, Trainer
from reference_model.train.hearing import Heard, Listening
from reference_model.train.spelling_ctc import SpellingLearner, SpellingStage
from reference_model.units import Units
from reference_model.whisper_encoder import WhisperConfig, WhisperStreamingEncoder

UNITS = 512
PLAIN = Augmentation(0, 0, 0, 0, 0, 0, (-25.0, -25.0), (0.3, 0.3), (0.6, 0.6), 0, 0, 0, 0)  # type: ignore[arg-type]


def whisper(config: WhisperConfig) -> WhisperStreamingEncoder:
    """An encoder with the weights of Whisper tiny.en."""
    from fobench_plugins.recognizers import ctranslate2_file

    state = ctranslate2_file.whisper_state(ctranslate2_file.read(assets.get("whisper-tiny.en-ct2") / "model.bin"))
    encoder = config.build()
    encoder.load_whisper({k: torch.as_tensor(v).float() for k, v in state.items() if k.startswith("encoder.")})
    return encoder


def validation(entries: list[Entry], listening: Listening, most: int) -> list[Heard]:
    """Clips as they are, in batches, the same ones each time."""
    chosen = sorted(entries, key=lambda e: e.id)
    random.Random(0).shuffle(chosen)
    corpus = Corpus(sorted(chosen[:most], key=lambda e: e.seconds), listening.corpus.rate_hz)
    plain = dataclasses.replace(listening, corpus=corpus, rules=PLAIN, joined=0.0)
    return [plain.load(range(i, min(i + 16, len(corpus))), 0) for i in range(0, len(corpus), 16)]


@click.command()
@click.option("--data", multiple=True, type=Path, required=True, help="Folder of shards, or manifest; repeatable.")
@click.option(
    "--real", multiple=True, type=Path, help="Manifest of real recordings to train on, taken --times as often."
)
@click.option("--times", default=5, show_default=True)
@click.option("--noises", multiple=True, type=Path)
@click.option("--rooms", multiple=True, type=Path)
@click.option("--valid", "valids", multiple=True, type=Path, help="Manifest to validate on, beside the shards' own.")
@click.option("--out", type=Path, required=True)
@click.option("--layers", default=6, show_default=True)
@click.option("--near/--free", default=True, show_default=True)
@click.option(
    "--even", default=0.0, show_default=True, help="Weight of evenly spread units: for the first few hundred steps."
)
@click.option("--easy", is_flag=True, help="Short clips as they are: for the first few hundred steps.")
@click.option("--set", "pairs", multiple=True, help="NAME=VALUE of the loop.")
def main(
    data: Sequence[Path],
    real: Sequence[Path],
    times: int,
    noises: Sequence[Path],
    rooms: Sequence[Path],
    valids: Sequence[Path],
    out: Path,
    layers: int,
    near: bool,
    even: float,
    easy: bool,
    pairs: Sequence[str],
) -> None:
    loop = Loop(
        **{
            "lr": 1e-3,
            "batch_s": 160.0,
            "batch_most": 96,
            "precision": "bf16",
            "steps": 6000,
            "warmup": 300,
            "workers": 1,
            **{k: json.loads(v) for k, v in (p.split("=") for p in pairs)},
        }
    )
    torch.manual_seed(loop.seed)
    train = Corpus.open(data, 16_000)
    if real:
        train.entries += Corpus.open(real, 16_000).entries * times
    units = (
        Units.learn([e.text for e in train.entries], UNITS)
        if not (out / "units.json").exists()
        else Units((out / "units.json").read_text())
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "units.json").write_text(units.merges)
    encoder = whisper(WhisperConfig(layers=layers))
    adapter = SpellingAdapter(SpellingConfig(encoder.size, units.merges))
    teacher = whisper(WhisperConfig()).requires_grad_(False).eval() if near else None
    sounds = Sounds.read(noises, rooms, 16_000)
    if easy:
        train.entries = [entry for entry in train.entries if entry.seconds < 3.0]
    rules, joined = (PLAIN, 0.0) if easy else (Augmentation(), 0.15)
    listening = Listening(train, sounds, rules, encoder.front, encoder.chunk, loop.seed, joined)
    held = Corpus.open([d for d in data if d.is_dir()], 16_000, "valid").entries
    unseen = [e for e in held if e.info["manner"]["held_out"]]
    seen = [e for e in held if not e.info["manner"]["held_out"]]
    sets = [("unseen_voice", validation(unseen, listening, 200)), ("seen_voice", validation(seen, listening, 200))]
    sets += [(v.parent.name, validation(Corpus.open([v], 16_000).entries, listening, 200)) for v in valids]
    module = SpellingLearner(encoder, adapter, teacher)
    module.evenness, module.dropout = even, 0.0 if easy else module.dropout
    stage = SpellingStage(
        module,
        listening,
        sets,
        {"encoder": dataclasses.asdict(encoder.config), "adapter": dataclasses.asdict(adapter.config), "near": near},
    )
    print(
        f"{len(train)} clips, {train.hours:.1f} h, {len(train.faults)} skipped; {sum(p.numel() for p in module.parameters()) / 1e6:.2f} M parameters",
        flush=True,
    )
    trainer = Trainer(stage, loop, out)
    for row in trainer.run():
        if row["step"] % 20 == 0 or any(k.startswith("valid") for k in row):
            print({k: round(float(v), 4) for k, v in row.items()}, trainer.place, flush=True)


if __name__ == "__main__":
    main()
