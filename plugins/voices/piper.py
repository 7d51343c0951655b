"""Piper: VITS voices (arXiv 2106.06103) in ONNX, ten times faster than real time on two cores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fobench import compute_threads
from fobench.api.types import AudioChunk
from fobench.errors import PrerequisiteError, unknown
from fobench_plugins.voices import piper_streaming
from fobench_plugins.voices.piper_streaming import SplitPiper
from fobench_plugins.voices.text_chunks import join_audio, speakable, split_text

INSTALL = "Piper is not installed ({}). Get it (its license is GPL-3.0): pip install 'fobench[piper]'"


class PiperVoice:
    """One Piper model. Without noise (the default) it is deterministic; `seed` is ignored.

    Noise is drawn by ONNX Runtime inside the graph, so that the audio then differs between calls.
    """

    def __init__(
        self, model: Path, *, name: str, noise_scale: float, noise_w: float, length_scale: float, threads: int | None
    ) -> None:
        """`model`: the .onnx file, with its .onnx.json beside it.

        Raises PrerequisiteError if Piper is not installed.
        """
        try:
            import onnx
            import onnxruntime
            import piper
        except ImportError as error:
            raise PrerequisiteError(INSTALL.format(error)) from error
        self._voice = _load(onnx, onnxruntime, piper, model, threads)
        options = {"noise_scale": noise_scale, "noise_w_scale": noise_w, "length_scale": length_scale}
        self._settings = {
            name: piper.SynthesisConfig(speaker_id=i, normalize_audio=False, **options)
            for name, i in _speakers(self._voice, name)
        }
        self.speakers = tuple(self._settings)
        self.rate_hz: int = self._voice.config.sample_rate
        self._about = {"voice": f"piper {name}", **options}

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return dict(self._about)

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as speech, empty if it has no speakable character. Raises FobenchError for an unknown speaker."""
        settings = self._of(speaker)
        chunks = (chunk for part in split_text(speakable(text)) for chunk in self._voice.synthesize(part, settings))
        return join_audio([chunk.audio_float_array for chunk in chunks], self.rate_hz)

    def stream(self, text: str, seed: int, speaker: str | None = None) -> Iterator[AudioChunk]:
        """The audio of `speak` in packets, which are generated as they are asked for."""
        settings, session = self._of(speaker), self._voice.session
        for part in split_text(speakable(text)):
            if not isinstance(session, SplitPiper):
                for chunk in self._voice.synthesize(part, settings):
                    yield join_audio([chunk.audio_float_array], self.rate_hz)
                continue
            for phonemes in filter(None, self._voice.phonemize(part)):
                for packet in session.packets(self._inputs(phonemes, settings)):
                    yield join_audio([np.clip(packet, -1.0, 1.0)], self.rate_hz)

    def _of(self, speaker: str | None) -> Any:
        """The settings of a speaker."""
        if (speaker or self.speakers[0]) not in self._settings:
            raise unknown("speaker of this Piper voice", str(speaker), self.speakers)
        return self._settings[speaker or self.speakers[0]]

    def _inputs(self, phonemes: list[str], settings: Any) -> dict[str, Any]:
        """The inputs of a single-speaker model for one sentence."""
        ids = np.array([self._voice.phonemes_to_ids(phonemes)], np.int64)
        scales = [settings.noise_scale, settings.length_scale, settings.noise_w_scale]
        return {
            "input": ids,
            "input_lengths": np.array([ids.shape[1]], np.int64),
            "scales": np.array(scales, np.float32),
        }


@lru_cache(maxsize=1)
def _load(onnx: Any, onnxruntime: Any, piper: Any, model: Path, threads: int | None) -> Any:
    """The model, loaded once for voices that differ only in their settings."""
    config = piper.PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_text(encoding="utf-8")))
    session = piper_streaming.load(onnx, onnxruntime, model, threads)
    if session is None:
        session = compute_threads.onnx_session(onnxruntime, str(model), threads)
    return piper.PiperVoice(session, config)  # PiperVoice.load would create its own session


def _speakers(voice: Any, name: str) -> list[tuple[str, int | None]]:
    """[(speaker, id in the model)]; the speaker of a single-speaker model has the model's name."""
    if voice.config.num_speakers <= 1:
        return [(name, None)]
    known = getattr(voice.config, "speaker_id_map", None) or {}
    return list(known.items()) or [(str(i), i) for i in range(voice.config.num_speakers)]
