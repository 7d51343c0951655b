"""Recordings and manifests for a training corpus, and what the corpus makes of them."""

import json

import numpy as np
import soundfile

from reference_model.train.data.corpus import Corpus

RATE = 16_000


def tone(seconds=0.5, hz=300.0, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(path, samples=None, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **options)
    return path


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(*sources, split="train"):
    return [entry.text for entry in Corpus.open(sources, RATE, split).entries]


def wrong(source):
    """{where: reason} of what was skipped."""
    return dict(Corpus.open([source], RATE).faults.entries)
