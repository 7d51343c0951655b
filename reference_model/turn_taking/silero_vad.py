"""Silero VAD, streaming: the probability of speech in each window of 32 ms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fobench import compute_threads
from fobench.api.types import Samples

RATE_HZ = 16_000
WINDOW = 512  # samples, 32 ms
CONTEXT = 64  # samples of the previous window before the new one in the network's input


class SileroVAD:
    """The network, shared by any number of `SileroDetector` streams."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        self._session = compute_threads.onnx_session(onnxruntime, str(model), threads=1)  # 32 ms: too small to share

    def step(self, window: Samples, state: np.ndarray) -> tuple[float, np.ndarray]:
        """[CONTEXT + WINDOW] samples and state [2, 1, 128] -> (probability of speech, next state)."""
        inputs = {"input": window[None], "state": state}
        if any(one.name == "sr" for one in self._session.get_inputs()):
            inputs["sr"] = np.array(RATE_HZ, dtype=np.int64)
        probability, state = self._session.run(None, inputs)
        return float(probability[0, 0]), state


class SileroDetector:
    """One stream, as `VoiceActivityDetector`."""

    def __init__(self, network: SileroVAD) -> None:
        self._network = network
        self._state = np.zeros((2, 1, 128), dtype=np.float32)
        self._context = np.zeros(CONTEXT, dtype=np.float32)
        self._rest = np.zeros(0, dtype=np.float32)

    def push(self, samples: Samples) -> Iterator[tuple[Samples, float]]:
        """Samples [N] -> each window [WINDOW] that is now complete, and the probability of speech in it."""
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= WINDOW:
            window, self._rest = self._rest[:WINDOW], self._rest[WINDOW:]
            probability, self._state = self._network.step(np.concatenate([self._context, window]), self._state)
            self._context = window[-CONTEXT:]
            yield window, probability
