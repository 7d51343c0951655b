"""What a listening stage hears, as its command line says: clips to train on, noises, rooms, and clips to be judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch

from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.train.data.asr_batches import PLAIN, AsrBatcher, ChunkSampler
from reference_model.train.data.asr_validation import Named, valid_sets
from reference_model.train.data.augmentation import Augmentation, Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.device_batches import DeviceAsrBatcher

PATH = click.Path(path_type=Path, exists=True)


@dataclass(frozen=True, slots=True)
class DataSources:
    """See the options."""

    data: tuple[Path, ...]
    real: tuple[Path, ...]
    times: int
    noises: tuple[Path, ...]
    rooms: tuple[Path, ...]
    valid: tuple[Path, ...]
    most: int
    plain: bool
    on_device: bool = False

    def corpus(self, rate_hz: int) -> Corpus:
        """All clips to train on. FobenchError where there is none."""
        corpus = Corpus.open(self.data, rate_hz)
        if self.real:
            more = Corpus.open(self.real, rate_hz)
            corpus.entries += more.entries * self.times
            corpus.faults.found += more.faults.found
        return corpus

    def listening(self, corpus: Corpus, encoder: SpeechEncoder, seed: int, dynamic: bool, **more: Any) -> AsrBatcher:
        """Its clips for an encoder; `dynamic`: what attention sees is drawn. `more`: further fields of `AsrBatcher`."""
        sounds = Sounds.read(self.noises, self.rooms, corpus.rate_hz)
        chunks = ChunkSampler.of(encoder) if dynamic else None
        rules = {"rules": PLAIN, "joined": 0.0} if self.plain else {"rules": Augmentation()}
        return AsrBatcher(
            corpus, sounds, front=encoder.front, chunk=encoder.chunk, seed=seed, chunks=chunks, **rules, **more
        )

    def placed(self, listening: AsrBatcher, device: torch.device) -> AsrBatcher | DeviceAsrBatcher:
        """The same, its batches made on the device if that was asked for."""
        return DeviceAsrBatcher(listening, device) if self.on_device else listening

    def valid_sets(self, listening: AsrBatcher) -> list[Named]:
        return valid_sets(self.data, self.valid, listening, self.most)


def with_sources(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a stage's function the options, whose values it gets as `sources`."""

    @wraps(function)
    def main(*args: Any, **options: Any) -> None:
        sources = DataSources(**{f.name: options.pop(f.name) for f in fields(DataSources)})
        function(*args, sources=sources, **options)

    return _options(main)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--on-device", is_flag=True, help="Keep all clips in the GPU's memory and make batches there (workers=0)."
        ),
        click.option("--plain", is_flag=True, help="Train on clips as they are: without noise, rooms, masks, pairs."),
        click.option("--most", default=200, show_default=True, help="Clips of each set to validate on."),
        click.option(
            "--valid", multiple=True, type=PATH, help="Manifest to validate on, beside the shards' own split."
        ),
        click.option(
            "--rooms", multiple=True, type=PATH, help="Folder of room responses; without any, rooms are made."
        ),
        click.option("--noises", multiple=True, type=PATH, help="Folder of noises; without any, noise is made."),
        click.option("--times", default=5, show_default=True, help="How often clips of --real are taken an epoch."),
        click.option("--real", multiple=True, type=PATH, help="Manifest of real recordings to train on as well."),
        click.option(
            "--data", multiple=True, type=PATH, required=True, help="Folder of shards, or manifest; repeatable."
        ),
    ):
        function = option(function)
    return function
