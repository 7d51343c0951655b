"""Kokoro-82M: five voices and mixtures of them, 24 kHz, in ONNX. Phonemes come from espeak-ng, through piper's package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench.types import AudioChunk, Samples
from fobench_plugins.voices.text import speakable

RATE_HZ = 24_000
LONGEST = 500  # phonemes in one call: the style vectors go up to 510


class Kokoro:
    """A voice of several speakers; a mixture is written `a+b` (equal parts) or `a+b:0.3` (three tenths of b)."""

    rate_hz = RATE_HZ

    def __init__(self, folder: Path, *, speed: float, threads: int | None) -> None:
        import onnxruntime

        try:
            from piper.phonemize_espeak import EspeakPhonemizer
        except ImportError as error:
            raise PrerequisiteError(
                "The voice kokoro takes phonemes from piper (GPL-3.0): pip install 'fobench[piper]'."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        model = next(folder.glob("*.onnx"))
        self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._phonemizer: Any = EspeakPhonemizer()
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        self._vocabulary: dict[str, int] = vocabulary.get("vocab", vocabulary)
        with np.load(folder / "voices_ja.npz") as styles:
            self._styles = {name: styles[name].astype(np.float32).reshape(-1, 256) for name in styles.files}
        self._speed = speed
        self.speakers = tuple(sorted(self._styles))

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as mono audio; of zero length if nothing in it can be read aloud. `seed` has no effect."""
        style, words = self._style(speaker or self.speakers[0]), speakable(text)
        parts = [self._sentence(phonemes, style) for phonemes in self._phonemes(words)] if words else []
        return AudioChunk(np.concatenate([np.zeros(0, np.float32), *parts]), RATE_HZ)

    def _phonemes(self, words: str) -> list[list[int]]:
        """Token ids of each sentence, long ones in pieces."""
        sentences = self._phonemizer.phonemize("en-us", words)
        ids = [[self._vocabulary[p] for p in sentence if p in self._vocabulary] for sentence in sentences]
        return [piece[i : i + LONGEST] for piece in ids for i in range(0, len(piece), LONGEST)]

    def _sentence(self, ids: list[int], style: Samples) -> Samples:
        inputs = {
            "tokens": np.array([[0, *ids, 0]], dtype=np.int64),
            "style": style[min(len(ids), len(style) - 1)][None],
            "speed": np.array([self._speed], dtype=np.float32),
        }
        samples: Samples = self._session.run(None, inputs)[0].reshape(-1)
        return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)

    def _style(self, speaker: str) -> Samples:
        """[lengths, 256] style vectors of a speaker or a mixture. Raises `FobenchError` for unknown names."""
        first, plus, rest = speaker.partition("+")
        second, _, share = rest.partition(":")
        for name in (first, second) if plus else (first,):
            if name not in self._styles:
                raise unknown("speaker of voice kokoro", name, self._styles)
        if not plus:
            return self._styles[first]
        try:
            part = float(share or 0.5)
        except ValueError as error:
            raise FobenchError(f"Speaker {speaker!r}: write a mixture as a+b:0.3.") from error
        return (1 - part) * self._styles[first] + part * self._styles[second]
