"""ASR validation of the speech-input stages: held-out clips without augmentation, and their word error rate."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import jiwer

from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalize_for_wer
from reference_model.train.data.asr_batches import AsrBatch, AsrBatcher
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.manifests import ClipEntry

BATCH = 16  # clips

ValidationSet = tuple[str, Sequence[AsrBatch]]  # (name, batches)


class TranscribedBatch(Protocol):
    """A batch of clips with their `texts`."""

    @property
    def texts(self) -> Sequence[str]: ...


Batch = TypeVar("Batch", bound=TranscribedBatch)


def validation_sets(
    data: Sequence[Path], manifests: Sequence[Path], batcher: AsrBatcher, max_clips: int
) -> list[ValidationSet]:
    """Returns at most `max_clips` clips of the shards' validation split, by seen and unseen voices, and of each
    manifest."""
    folders = [folder for folder in data if any(folder.glob("valid-*.tar"))]
    entries = Corpus.open(folders, batcher.corpus.rate_hz, "valid").entries if folders else []
    unseen = [entry for entry in entries if entry.info.get("manner", {}).get("held_out")]
    seen = [entry for entry in entries if not entry.info.get("manner", {}).get("held_out")]
    sets = [("unseen_voice", unseen), ("seen_voice", seen)]
    sets += [(path.parent.name, Corpus.open([path], batcher.corpus.rate_hz).entries) for path in manifests]
    return [(name, validation_batches(entries, batcher, max_clips)) for name, entries in sets if entries]


def validation_batches(entries: Sequence[ClipEntry], batcher: AsrBatcher, max_clips: int) -> list[AsrBatch]:
    """Returns at most `max_clips` clips without augmentation, the same ones in every run, batched by length."""
    chosen = sorted(entries, key=lambda entry: entry.id)
    random.Random(0).shuffle(chosen)
    corpus = Corpus(
        sorted(chosen[:max_clips], key=lambda entry: entry.seconds), batcher.corpus.rate_hz, batcher.corpus.faults
    )
    plain = batcher.plain(corpus)
    found = [plain.load(range(i, min(i + BATCH, len(corpus))), 0) for i in range(0, len(corpus), BATCH)]
    return [batch for batch in found if batch is not None]


def word_error_rate(batches: Sequence[Batch], transcribe: Callable[[Batch], Sequence[str]]) -> float:
    """Returns the WER, normalized by `fobench-en-2`. FobenchError where the references hold no word."""
    references: list[str] = []
    hypotheses: list[str] = []
    for batch in batches:
        for text, hypothesis in zip(batch.texts, transcribe(batch), strict=True):
            if reference := normalize_for_wer(text):
                references.append(reference)
                hypotheses.append(normalize_for_wer(hypothesis, transcript=True))
    if not references:
        raise FobenchError("The clips to validate on contain no words. Give --valid another manifest.")
    return float(jiwer.wer(references, hypotheses))
