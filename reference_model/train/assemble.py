"""Puts what the stages have trained together into one checkpoint.

    python -m reference_model.train.assemble --input runs/train/input-1 --codec runs/train/output-1 --speech runs/train/output-2 \\
        --out runs/train/small.safetensors

What no stage has trained yet keeps its random weights; the settings then do without it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from reference_model import checkpoints, weights
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.train import engine
from reference_model.train.output_2 import load_codec


def newest(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(configuration, tensors) of a stage's newest checkpoint."""
    return weights.load(engine.checkpoints(folder)[-1] / engine.MODEL)


def assemble(config: str, input_folder: Path, codec_folder: Path, speech_folder: Path | None) -> FreezeOmni:
    about, heard = newest(input_folder)
    base = ModelConfig.load(config).to_json()
    adapter = {"kind": "spelling", **about["adapter"]}
    duplex = {**base["settings"]["duplex"], "turn_end": "vad"}
    encoder = {"kind": "whisper", **about["encoder"]}
    changed = {"encoder": encoder, "adapter": adapter, "prompts": 0, "settings": {**base["settings"], "duplex": duplex}}
    model = FreezeOmni(ModelConfig.from_json({**base, **changed}))
    for name in ("encoder", "adapter"):
        weights.fill(getattr(model, name), part(heard, name), input_folder)
    model.codec = load_codec(codec_folder)
    model.config = replace(model.config, codec=model.codec.config)
    if speech_folder:
        weights.fill(model.decoder, part(newest(speech_folder)[1], "decoder"), speech_folder)
    return model


def part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors of one part, by their names within it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


@click.command()
@click.option("--config", default="small", show_default=True)
@click.option("--input", "input_folder", type=Path, required=True)
@click.option("--codec", type=Path, required=True)
@click.option("--speech", type=Path)
@click.option("--out", type=Path, required=True)
def main(config: str, input_folder: Path, codec: Path, speech: Path | None, out: Path) -> None:
    checkpoints.save(assemble(config, input_folder, codec, speech), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
