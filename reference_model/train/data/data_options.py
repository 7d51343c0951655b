"""Data options of the speech-input stages: clips to train on, noises, room impulse responses, clips to validate on."""

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
from reference_model.train.data.asr_validation import ValidationSet, validation_sets
from reference_model.train.data.augmentation import Augmentation, Sounds
from reference_model.train.data.corpus import Corpus, distinct
from reference_model.train.data.device_batches import DeviceAsrBatcher
from reference_model.train.data.manifests import HUB

PATH = click.Path(path_type=Path, exists=True)


class SourcePath(click.Path):
    """An existing path, or a data set of the hub (`hub:NAME`)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Path(value) if str(value).startswith(HUB) else super().convert(value, param, ctx)


SOURCE = SourcePath(path_type=Path, exists=True)


@dataclass(frozen=True, slots=True)
class DataSources:
    """Values of the data options; see `_options` for each."""

    data: tuple[Path, ...]
    real: tuple[Path, ...]
    times: int
    noises: tuple[Path, ...]
    rooms: tuple[Path, ...]
    valid: tuple[Path, ...]
    max_clips: int
    plain: bool
    on_device: bool = False

    def corpus(self, rate_hz: int) -> Corpus:
        """Returns all clips to train on. FobenchError where there is none."""
        corpus = Corpus.open(self.data, rate_hz)
        if self.real:
            more = Corpus.open(self.real, rate_hz)
            corpus.entries = distinct([*corpus.entries, *more.entries * self.times])
            corpus.faults.entries += more.faults.entries
        return corpus

    def batcher(self, corpus: Corpus, encoder: SpeechEncoder, seed: int, dynamic: bool, **more: Any) -> AsrBatcher:
        """Returns a batcher of the corpus for an encoder.

        `dynamic`: dynamic chunk training; `more`: further fields of `AsrBatcher`.
        """
        sounds = Sounds.read(self.noises, self.rooms, corpus.rate_hz)
        chunks = ChunkSampler.of(encoder) if dynamic else None
        rules = {"rules": PLAIN, "join_probability": 0.0} if self.plain else {"rules": Augmentation()}
        return AsrBatcher(
            corpus, sounds, front=encoder.front, chunk=encoder.chunk, seed=seed, chunks=chunks, **rules, **more
        )

    def device_batcher(self, batcher: AsrBatcher, device: torch.device) -> AsrBatcher | DeviceAsrBatcher:
        """Returns the batcher, or with --on-device one that makes the same batches on the device."""
        return DeviceAsrBatcher(batcher, device) if self.on_device else batcher

    def validation_sets(self, batcher: AsrBatcher) -> list[ValidationSet]:
        return validation_sets(self.data, self.valid, batcher, self.max_clips)


def with_sources(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the data options to a stage's function and passes their values as `sources`."""

    @wraps(function)
    def main(*args: Any, **options: Any) -> None:
        sources = DataSources(**{f.name: options.pop(f.name) for f in fields(DataSources)})
        function(*args, sources=sources, **options)

    return _options(main)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--on-device", is_flag=True, help="Keep all clips in GPU memory and make batches there (workers=0)."
        ),
        click.option(
            "--plain", is_flag=True, help="Train without augmentation: no noise, rooms, masks or joined clips."
        ),
        click.option(
            "--most",
            "max_clips",
            type=click.IntRange(1, 10_000_000),
            default=200,
            show_default=True,
            help="Clips of each validation set.",
        ),
        click.option(
            "--valid", multiple=True, type=SOURCE, help="Manifest to validate on, in addition to the shards' own split."
        ),
        click.option(
            "--rooms", multiple=True, type=PATH, help="Folder of room impulse responses; without any, synthetic ones."
        ),
        click.option(
            "--noises", multiple=True, type=PATH, help="Folder of noise recordings; without any, synthetic noise."
        ),
        click.option(
            "--times",
            type=click.IntRange(0, 10_000),
            default=5,
            show_default=True,
            help="Repetitions of the clips of --real in an epoch.",
        ),
        click.option(
            "--real", multiple=True, type=SOURCE, help="Manifest of real recordings to train on as well; repeatable."
        ),
        click.option(
            "--data",
            multiple=True,
            type=SOURCE,
            required=True,
            help="Folder of shards, a manifest, or hub:NAME; repeatable.",
        ),
    ):
        function = option(function)
    return function
