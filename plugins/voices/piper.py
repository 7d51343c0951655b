"""Piper: a VITS voice in ONNX, ten times faster than real time on two cores."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from fobench.api.types import AudioChunk
from fobench.errors import PrerequisiteError, unknown
from fobench_plugins.voices.text_chunks import joined, portions, speakable

INSTALL = "Piper is not installed ({}). Get it (its licence is GPL-3.0): pip install 'fobench[piper]'"


class PiperVoice:
    """One Piper model. Without noise (the default) its speech depends on the text alone, bit for bit; `seed` is not used.

    With noise, ONNX Runtime draws it inside the graph: it then differs from call to call.
    """

    def __init__(
        self, model: Path, *, name: str, noise_scale: float, noise_w: float, length_scale: float, threads: int | None
    ) -> None:
        """`model`: the .onnx, its .onnx.json beside it. Raises PrerequisiteError if Piper is not installed."""
        try:
            import onnxruntime
            import piper
        except ImportError as error:
            raise PrerequisiteError(INSTALL.format(error)) from error
        self._voice = _loaded(onnxruntime, piper, model, threads)
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
        """The text spoken; of no length if nothing in it can be said. Raises FobenchError for an unknown speaker."""
        if (speaker or self.speakers[0]) not in self._settings:
            raise unknown("speaker of this Piper voice", str(speaker), self.speakers)
        settings = self._settings[speaker or self.speakers[0]]
        chunks = (chunk for portion in portions(speakable(text)) for chunk in self._voice.synthesize(portion, settings))
        return joined([chunk.audio_float_array for chunk in chunks], self.rate_hz)


@lru_cache(maxsize=1)
def _loaded(onnxruntime: Any, piper: Any, model: Path, threads: int | None) -> Any:
    """Loaded once for voices that differ in their settings only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: all cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others compute at the same time
    config = piper.PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_text(encoding="utf-8")))
    session = onnxruntime.InferenceSession(str(model), sess_options=options, providers=["CPUExecutionProvider"])
    return piper.PiperVoice(session, config)  # its own `load` would make a session that is not wanted


def _speakers(voice: Any, name: str) -> list[tuple[str, int | None]]:
    """[(name, id in the model)]; a model of one speaker has its own name."""
    if voice.config.num_speakers <= 1:
        return [(name, None)]
    known = getattr(voice.config, "speaker_id_map", None) or {}
    return list(known.items()) or [(str(i), i) for i in range(voice.config.num_speakers)]
