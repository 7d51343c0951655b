"""A Piper model in two parts, so that audio begins before a sentence is synthesized to its end: text to latents, latents to audio.

The second part, VITS' HiFi-GAN generator, takes 70 % of the time. It is a stack of convolutions, so that a window of latents with
`CONTEXT` frames on both sides gives the same samples as the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench import compute_threads

GENERATOR = "/dec/"  # begins the names of the generator's nodes
CONTEXT = 16  # frames of latents on either side; with 12 samples differ by 1e-6
FIRST_PACKET = 32  # frames of latents: 0.37 s at 22,050 Hz
LONGEST_PACKET = 128

Floats = npt.NDArray[np.float32]


class SplitPiper:
    """The two parts of a model as ONNX sessions. `latents` is the name of what the first hands to the second."""

    def __init__(self, onnxruntime: Any, parts: tuple[bytes, bytes], latents: str, threads: int | None) -> None:
        self._encoder, self._generator = (compute_threads.onnx_session(onnxruntime, part, threads) for part in parts)
        self._latents = latents

    def run(self, outputs: None, inputs: dict[str, Any]) -> list[Floats]:
        """The audio [1, 1, T] of one sentence, as `onnxruntime.InferenceSession.run` of the whole model."""
        return [self._audio(self._encoder.run(None, inputs)[0])]

    def packets(self, inputs: dict[str, Any]) -> Iterator[Floats]:
        """The audio of one sentence in packets [T], the first the shortest."""
        latents = self._encoder.run(None, inputs)[0]
        total, start, size = latents.shape[2], 0, FIRST_PACKET
        while start < total:
            end = total if total - start < size + FIRST_PACKET else start + size
            first, last = max(0, start - CONTEXT), min(total, end + CONTEXT)
            audio = self._audio(latents[:, :, first:last]).reshape(last - first, -1)
            yield audio[start - first : end - first].ravel()
            start, size = end, min(LONGEST_PACKET, 2 * size)

    def _audio(self, latents: Floats) -> Floats:
        """[1, C, F] latents -> [1, 1, T] samples."""
        audio: Floats = self._generator.run(None, {self._latents: np.ascontiguousarray(latents)})[0]
        return audio


def load(onnx: Any, onnxruntime: Any, model: Path, threads: int | None) -> SplitPiper | None:
    """The model of an .onnx file in two parts, or None if its generator takes other inputs than latents (several speakers)."""
    graph = onnx.load(str(model))
    nodes = [node for node in graph.graph.node if node.name.startswith(GENERATOR)]
    inner = {name for node in nodes for name in node.output} | {array.name for array in graph.graph.initializer}
    between = sorted({name for node in nodes for name in node.input if name} - inner)
    if len(between) != 1:
        return None
    graph.graph.value_info.append(
        onnx.helper.make_tensor_value_info(between[0], onnx.TensorProto.FLOAT, ["B", "C", "F"])
    )
    extractor = onnx.utils.Extractor(graph)
    inputs, outputs = [i.name for i in graph.graph.input], [o.name for o in graph.graph.output]
    parts = (extractor.extract_model(inputs, between), extractor.extract_model(between, outputs))
    return SplitPiper(onnxruntime, (parts[0].SerializeToString(), parts[1].SerializeToString()), between[0], threads)
