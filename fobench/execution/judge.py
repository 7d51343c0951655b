"""The judge: the reference ASR, independent of the system, and the metrics that measure on audio, in a process of their own.

Each recording is transcribed once, right after its scenario; the transcript goes into the trace, so that scoring needs no model.
"""

from __future__ import annotations

import time
from typing import Any

from fobench.api import registry
from fobench.api.components import AudioMetric
from fobench.api.registry import ComponentSpec
from fobench.api.types import AudioChunk
from fobench.assets import store
from fobench.audio import audible_bounds


class Judge:
    """The reference ASR `recognizer`, and the metrics named in `audio_metrics`, which measure on audio."""

    def __init__(self, recognizer: ComponentSpec, audio_metrics: tuple[str, ...] = ()) -> None:
        self._recognizer = registry.create(recognizer)
        self._metrics: dict[str, AudioMetric] = {n: registry.create("metrics", n) for n in audio_metrics}

    def about(self) -> dict[str, Any]:
        """Returns the recognizer's description and the `assets` that it loaded; plain data."""
        describe = getattr(self._recognizer, "about", None)
        return {**(describe() if describe else {}), "assets": store.used()}

    def hear(self, audio: AudioChunk) -> tuple[str | None, int]:
        """Returns (the transcript, the ns that it took); None for the transcript where nothing is audible."""
        start = time.perf_counter_ns()
        audible = audible_bounds(audio.samples, audio.rate_hz) is not None
        text = self._recognizer.transcribe(audio).text.strip() if audible else None
        return text, time.perf_counter_ns() - start

    def measure(self, audio: AudioChunk) -> tuple[dict[str, dict[str, float]], int]:
        """Returns ({metric: its named values}, the ns that they took)."""
        start = time.perf_counter_ns()
        measured = {name: dict(metric.measure(audio)) for name, metric in self._metrics.items()}
        return measured, time.perf_counter_ns() - start
