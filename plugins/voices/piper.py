"""Piper: a VITS voice in ONNX. Its package holds espeak-ng (GPL-3.0) and is imported only here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fobench.errors import PrerequisiteError
from fobench.types import AudioChunk, Samples
from fobench_plugins.voices.text import speakable


class Piper:
    """A voice of one speaker. With both noise scales 0 (the default) the same text gives the same samples."""

    def __init__(self, model: Path, *, noise: float, length: float, threads: int | None) -> None:
        try:
            from piper import PiperVoice, SynthesisConfig
        except ImportError as error:
            raise PrerequisiteError(
                "The voice piper lacks its package (GPL-3.0): pip install 'fobench[piper]'."
            ) from error
        self._voice: Any = PiperVoice.load(model)
        if threads:
            self._voice.session = _session(model, threads)
        self._config = SynthesisConfig(noise_scale=noise, noise_w_scale=noise, length_scale=length)
        self._lock = threading.Lock()  # espeak-ng has one state in a process
        self.rate_hz: int = self._voice.config.sample_rate
        self.speakers = (model.stem,)

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as mono audio; of zero length if nothing in it can be read aloud. `seed` has no effect."""
        words = speakable(text)
        parts = list(self._sentences(words)) if words else []
        samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
        return AudioChunk(np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False), self.rate_hz)

    def _sentences(self, words: str) -> Iterator[Samples]:
        with self._lock:
            for chunk in self._voice.synthesize(words, self._config):
                yield chunk.audio_float_array


def _session(model: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
