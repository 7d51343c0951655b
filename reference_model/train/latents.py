"""Pairs to train the codec on: Piper's speech, and the latents that its own generator made it from.

    python -m reference_model.train.latents --plan runs/data/output --out runs/data/latents --hours 2

Piper's graph is cut at the input of its HiFi-GAN generator, whose weights become our codec's (`piper_generator`). One
safetensors file holds some hundred pairs: `<id>.audio` int16 [T], `<id>.latents` float16 [192, T / 256].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save_file

from fobench import assets
from fobench.errors import FobenchError
from reference_model.hifigan import PIPER_GENERATOR, Generator

ASSET, CUT, OUTPUT = "piper-joe-medium", "/Mul_7_output_0", "output"
NOISE, NOISE_W = 0.333, 0.0  # as the replies' speech is rendered
FILE = 200  # pairs


def piper_graph() -> Any:
    """The ONNX model of the pinned Piper voice."""
    import onnx

    return onnx.load(str(_model_file()))


def piper_generator() -> Generator:
    """Our generator with the voice's weights."""
    from onnx import numpy_helper

    generator = Generator(PIPER_GENERATOR)
    arrays = {i.name: numpy_helper.to_array(i) for i in piper_graph().graph.initializer}
    state = {renamed(key): torch.from_numpy(np.array(value)) for key, value in arrays.items() if key.startswith("dec.")}
    missing = generator.state_dict().keys() ^ state.keys()
    if missing:
        raise FobenchError(f"{ASSET} holds another generator than ours: {', '.join(sorted(missing)[:4])}")
    generator.load_state_dict(state)
    return generator


def renamed(key: str) -> str:
    """Piper's name of a parameter of its generator -> ours."""
    parts = key.removeprefix("dec.").split(".")
    if parts[0] == "ups":
        return ".".join(["stages", parts[1], "up", parts[2]])
    if parts[0] == "resblocks":
        block, rest = int(parts[1]), parts[3:]
        return ".".join(["stages", str(block // 3), "blocks", str(block % 3), "dilated", *rest])
    return ".".join([parts[0].removeprefix("conv_"), parts[1]])


def pairs(texts: Iterator[str], threads: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(audio [T], latents [192, F]) of each text."""
    import onnx
    import onnxruntime
    import piper

    graph = piper_graph()
    graph.graph.output.append(onnx.helper.make_tensor_value_info(CUT, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    voice = piper.PiperVoice.load(_model_file())
    scales = np.array([NOISE, 1.0, NOISE_W], np.float32)
    for text in texts:
        for phonemes in voice.phonemize(text):
            ids = np.array([voice.phonemes_to_ids(phonemes)], np.int64)
            lengths = np.array([ids.shape[1]], np.int64)
            audio, latents = session.run([OUTPUT, CUT], {"input": ids, "input_lengths": lengths, "scales": scales})
            yield audio.reshape(-1), latents[0]


def _model_file() -> Path:
    return next(assets.get(ASSET).rglob("*.onnx"))


@click.command()
@click.option("--plan", type=Path, required=True, help="Folder of the set whose texts are spoken (its train split).")
@click.option("--out", type=Path, required=True)
@click.option("--hours", default=2.0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(plan: Path, out: Path, hours: float, threads: int) -> None:
    rows = [json.loads(line) for line in (plan / "plan.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows if row["split"] == "train"]
    out.mkdir(parents=True, exist_ok=True)
    held: dict[str, torch.Tensor] = {}
    seconds = 0.0
    for number, (audio, latents) in enumerate(pairs(iter(texts), threads)):
        held[f"{number}.audio"] = torch.from_numpy((audio * 32767).astype(np.int16))
        held[f"{number}.latents"] = torch.from_numpy(latents.astype(np.float16))
        seconds += len(audio) / PIPER_RATE
        if (number + 1) % FILE == 0 or seconds > hours * 3600:
            save_file(held, out / f"pairs-{number // FILE:04d}.safetensors")
            held = {}
        if seconds > hours * 3600:
            return


PIPER_RATE = 22_050

if __name__ == "__main__":
    main()
