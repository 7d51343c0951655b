"""What a listening stage is judged by: clips it is not trained on, as they are, and the share of words heard wrongly."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import jiwer

from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalise
from reference_model.train.data.asr_batches import AsrBatch, AsrBatcher
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.manifests import ClipEntry

BATCH = 16  # clips

Named = tuple[str, Sequence[AsrBatch]]  # a set's name, and its batches


def valid_sets(data: Sequence[Path], manifests: Sequence[Path], listening: AsrBatcher, most: int) -> list[Named]:
    """At most `most` clips of the shards' own validation split, by voices trained on or not, and of each manifest."""
    folders = [folder for folder in data if any(folder.glob("valid-*.tar"))]
    own = Corpus.open(folders, listening.corpus.rate_hz, "valid").entries if folders else []
    unseen = [entry for entry in own if entry.info.get("manner", {}).get("held_out")]
    seen = [entry for entry in own if not entry.info.get("manner", {}).get("held_out")]
    sets = [("unseen_voice", unseen), ("seen_voice", seen)]
    sets += [(path.parent.name, Corpus.open([path], listening.corpus.rate_hz).entries) for path in manifests]
    return [(name, batches(entries, listening, most)) for name, entries in sets if entries]


def batches(entries: Sequence[ClipEntry], listening: AsrBatcher, most: int) -> list[AsrBatch]:
    """Clips as they are, at most `most`, the same ones each time; those of like length together."""
    chosen = sorted(entries, key=lambda entry: entry.id)
    random.Random(0).shuffle(chosen)
    corpus = Corpus(
        sorted(chosen[:most], key=lambda entry: entry.seconds), listening.corpus.rate_hz, listening.corpus.faults
    )
    plain = listening.plain(corpus)
    found = [plain.load(range(i, min(i + BATCH, len(corpus))), 0) for i in range(0, len(corpus), BATCH)]
    return [batch for batch in found if batch is not None]


def word_error_rate(batches: Sequence[AsrBatch], transcribe: Callable[[AsrBatch], Sequence[str]]) -> float:
    """Words wrong, of all that are said, after Whisper's normaliser. FobenchError where nothing is said."""
    said: list[str] = []
    heard: list[str] = []
    for batch in batches:
        for text, found in zip(batch.texts, transcribe(batch), strict=True):
            if normalise(text):
                said.append(normalise(text))
                heard.append(normalise(found))
    if not said:
        raise FobenchError("There is not a word in the clips to validate on. Give --valid another manifest.")
    return float(jiwer.wer(said, heard))
