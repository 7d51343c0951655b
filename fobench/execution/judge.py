"""The judge: an independent recogniser, and the metrics that listen, in a process of their own.

It hears each recording once, when the scenario has just been run; what it heard goes into the trace, so that scoring needs
no model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fobench.api import registry
from fobench.api.components import AudioMetric
from fobench.api.types import AudioChunk
from fobench.assets import store
from fobench.audio import audible_bounds


class Judge:
    """The recogniser `name`; `listeners` are names of metrics that measure on audio."""

    def __init__(self, name: str, options: Mapping[str, Any], listeners: tuple[str, ...] = ()) -> None:
        self._recognizer = registry.create("recognizers", name, options)
        self._listeners: dict[str, AudioMetric] = {n: registry.create("metrics", n) for n in listeners}

    def about(self) -> dict[str, Any]:
        """What the recogniser says of itself, and the `assets` it is made of; plain data."""
        describe = getattr(self._recognizer, "about", None)
        return {**(describe() if describe else {}), "assets": store.used()}

    def hear(self, audio: AudioChunk) -> tuple[str | None, int]:
        """(what is said, ns it took to find out); None where nothing is audible."""
        start = time.perf_counter_ns()
        audible = audible_bounds(audio.samples, audio.rate_hz) is not None
        text = self._recognizer.transcribe(audio).text.strip() if audible else None
        return text, time.perf_counter_ns() - start

    def measure(self, audio: AudioChunk) -> tuple[dict[str, dict[str, float]], int]:
        """({metric: what it measured}, ns it took)."""
        start = time.perf_counter_ns()
        measured = {name: dict(metric.measure(audio)) for name, metric in self._listeners.items()}
        return measured, time.perf_counter_ns() - start
