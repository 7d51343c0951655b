"""The judge: the reference ASR, independent of the system, and the metrics that measure on audio, in a process of their own.

Each recording is transcribed once, after its scenario; the transcript goes into the trace, so that scoring needs no model.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fobench.api import registry
from fobench.api.components import AudioMetric
from fobench.api.plain_data import plain, plain_text
from fobench.api.registry import ComponentSpec
from fobench.api.types import AudioChunk
from fobench.assets import store
from fobench.audio import audible_bounds, sha256
from fobench.errors import PrerequisiteError, SystemFailure, describe_error
from fobench.execution.system_driver import described

LONGEST_TRANSCRIPT = 100_000  # characters
KEPT_TRANSCRIPTS = 4_096  # of prompts


class Judge:
    """The reference ASR `recognizer`, and the metrics named in `audio_metrics`, which measure on audio."""

    def __init__(self, recognizer: ComponentSpec, audio_metrics: tuple[str, ...] = ()) -> None:
        self._recognizer = registry.create(recognizer)
        self._metrics: dict[str, AudioMetric] = {n: registry.create("metrics", n) for n in audio_metrics}
        self._prompts: dict[str, str | None] = {}  # transcripts by the SHA-256 of the audio

    def about(self) -> dict[str, Any]:
        """Returns the recognizer's description and the `assets` that it loaded; plain data."""
        return {**described(self._recognizer), "assets": store.used()}

    def hear(self, audio: AudioChunk) -> tuple[str | None, int]:
        """Returns (the transcript, the ns that it took); None for the transcript where nothing is audible.

        Raises `SystemFailure` for a transcript that is no text, or too long.
        """
        start = time.perf_counter_ns()
        text = None
        if audible_bounds(audio.samples, audio.rate_hz) is not None:
            text = self._recognizer.transcribe(audio).text
            if not isinstance(text, str):
                raise SystemFailure("bad_answer", f"a transcript must be text, not {type(text).__name__}")
            if len(text) > LONGEST_TRANSCRIPT:
                raise SystemFailure("bad_answer", f"a transcript of {len(text):,} characters")
            text = plain_text(text).strip()
        return text, time.perf_counter_ns() - start

    def hear_prompt(self, audio: AudioChunk) -> tuple[str | None, int]:
        """`hear` for the clean audio of a prompt, which scenarios share with their controls: transcribed once."""
        start = time.perf_counter_ns()
        key = sha256(audio.samples, audio.rate_hz)
        if key not in self._prompts:
            if len(self._prompts) >= KEPT_TRANSCRIPTS:
                del self._prompts[next(iter(self._prompts))]
            self._prompts[key] = self.hear(audio)[0]
        return self._prompts[key], time.perf_counter_ns() - start

    def measure(self, audio: AudioChunk) -> tuple[dict[str, dict[str, float]], dict[str, str], int]:
        """Returns ({metric: its named values}, {metric: why it has none}, the ns that they took)."""
        start = time.perf_counter_ns()
        measured: dict[str, dict[str, float]] = {}
        failed: dict[str, str] = {}
        for name, metric in self._metrics.items():
            copied = AudioChunk(np.array(audio.samples), audio.rate_hz, audio.start)  # one of them may change it
            try:
                measured[name] = _numbers(metric.measure(copied), f"measure() of {name}")
            except PrerequisiteError as error:
                measured[name], failed[name] = {}, str(error)
            except Exception as error:  # a plugin's error affects only its own values
                measured[name], failed[name] = {}, describe_error(error)
        return measured, failed, time.perf_counter_ns() - start


def _numbers(values: Any, where: str) -> dict[str, float]:
    """A table of numbers as plain data. Raises ValueError for anything else."""
    table = plain(values, where)
    if not isinstance(table, dict):
        raise ValueError(f"{where} must return a table, not {type(values).__name__}")
    if wrong := next((k for k, v in table.items() if isinstance(v, bool) or not isinstance(v, int | float)), None):
        raise ValueError(f"{where}[{wrong!r}] must be a number, not {table[wrong]!r:.60}")
    return {name: float(value) for name, value in table.items()}
