"""What Whisper's frozen encoder makes of clips in full context, kept in files: to learn from them again and again costs little.

    python -m reference_model.train.frames --data runs/data/input --real MANIFEST --out runs/data/frames --times 4

One safetensors file holds some hundred clips, made harder as for input stage 1: `<n>` float16 [T, 384], 50 frames a second; its
metadata, their texts. A killed run goes on after its last file. A clip that cannot be used is left out, and listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from safetensors import safe_open
from torch import Tensor

from fobench.errors import FobenchError
from reference_model import weights
from reference_model.features import RATE_HZ
from reference_model.train.hearing import Listening
from reference_model.train.sources import Sources, with_sources
from reference_model.train.stage import StageCommand
from reference_model.whisper_encoder import WhisperStreamingEncoder
from reference_model.whisper_weights import full_context, ranged

FILE = 320  # clips
BATCH = 16


@dataclass(frozen=True, slots=True)
class Framed:
    """A clip: what is said, and the file and name that its frames are kept under; `frames` of them."""

    text: str
    path: Path
    key: str
    frames: int

    def load(self) -> Tensor:
        """[T, D] float16"""
        with safe_open(self.path, "pt") as file:
            found: Tensor = file.get_tensor(self.key)
            return found


def read(folder: Path) -> list[Framed]:
    """Every clip in the folder. FobenchError where there is none."""
    found = [clip for path in sorted(folder.glob("frames-*.safetensors")) for clip in _told(path)]
    if not found:
        raise FobenchError(f"{folder} holds no frames-*.safetensors. Make them: fobench train frames --help")
    return found


def _told(path: Path) -> Iterator[Framed]:
    with safe_open(path, "pt") as file:
        clips = json.loads(file.metadata()["config"])["clips"]
    return (Framed(text, path, str(i), frames) for i, (text, frames) in enumerate(clips))


@torch.inference_mode()
def framed(
    listening: Listening, indices: Sequence[int], epoch: int, whisper: WhisperStreamingEncoder
) -> list[tuple[str, Tensor]]:
    """(text, frames [T, D] float16) of clips, as they are in an epoch."""
    found = []
    order = sorted(indices, key=lambda i: listening.corpus.entries[i].seconds)
    for begin in range(0, len(order), BATCH):
        batch = listening.load(order[begin : begin + BATCH], epoch)
        if batch is None:
            continue
        frames, mask = whisper(ranged(batch.features), batch.lengths)
        found += [(text, one[inside].half()) for text, one, inside in zip(batch.texts, frames, mask, strict=True)]
    return found


@click.command(cls=StageCommand, help=__doc__)
@with_sources
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(sources: Sources, out: Path, seed: int, threads: int) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    whisper, corpus = full_context(), sources.corpus(RATE_HZ)
    listening = sources.listening(corpus, whisper, seed, False, clean=False)
    order = torch.randperm(len(corpus), generator=torch.Generator().manual_seed(seed)).tolist()
    for number, begin in enumerate(range(0, len(order), FILE)):
        path = out / f"frames-{number:04d}.safetensors"
        if not path.exists():
            found = framed(listening, order[begin : begin + FILE], number, whisper)
            about = {"clips": [(text, len(frames)) for text, frames in found]}
            weights.save_tensors({str(i): frames for i, (_, frames) in enumerate(found)}, about, path)
        print(f"{min(begin + FILE, len(order))} of {len(order)} clips", flush=True)
    if len(corpus.faults):
        print(f"{len(corpus.faults)} left out:\n{corpus.faults.told()}")


if __name__ == "__main__":
    main()
