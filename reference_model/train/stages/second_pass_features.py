"""What the second pass sees of clips, kept in files, so that to learn from them again and again costs little.

    python -m reference_model.train.stages.second_pass_features --data runs/data/input --out runs/data/frames

One safetensors file holds some hundred clips, made harder as for input stage 1: `<n>` float16 [T, 384], what Whisper's frozen encoder
makes of a clip in full context, 50 frames a second; with `--init`, for a second pass that corrects, `<n>.heard` float16 [n, F], what
the adapter of input stage 1 hears of it, chunk by chunk; in the metadata, the texts. A killed run goes on after its last file. A clip
that cannot be used is left out, and listed.
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
from reference_model.checkpoint import safetensors_io
from reference_model.speech_input.ctc_adapter import CTCAdapter, CTCAdapterConfig
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder
from reference_model.speech_input.whisper_weights import full_context, ranged
from reference_model.train.data.asr_batches import AsrBatch, AsrBatcher
from reference_model.train.data.data_options import PATH, DataSources, with_sources
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.pretrained import PretrainedWeights

FILE = 320  # clips
BATCH = 16

Clip = tuple[str, Tensor, Tensor | None]  # text, frames, the adapter's features


@dataclass(frozen=True, slots=True)
class FeatureClip:
    """A clip: what is said, and the file and name that it is kept under; `frames` of Whisper's encoder."""

    text: str
    path: Path
    key: str
    frames: int

    def load(self, heard: bool) -> tuple[Tensor, Tensor | None]:
        """(frames [T, 384], where they are `heard` the adapter's features [n, F]), float16. FobenchError where these are not kept."""
        with safe_open(self.path, "pt") as file:
            if heard and f"{self.key}.heard" not in file.keys():  # noqa: SIM118
                raise FobenchError(
                    f"{self.path} holds nothing of an adapter: make it with fobench train frames --init."
                )
            return file.get_tensor(self.key), file.get_tensor(f"{self.key}.heard") if heard else None


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """What hears the clips: Whisper's encoder in full context; maybe encoder and adapter of input stage 1, chunk by chunk."""

    whisper: WhisperStreamingEncoder
    encoder: WhisperStreamingEncoder | None = None
    adapter: CTCAdapter | None = None

    @classmethod
    def of(cls, earlier: PretrainedWeights) -> FeatureExtractor:
        """FobenchError where the earlier training was of another kind."""
        encoder, adapter = earlier.about("encoder"), earlier.about("adapter")
        if not encoder or not adapter or "units" not in adapter or "mels" not in encoder:
            raise FobenchError(f"{earlier.path} holds no encoder of Whisper's kind with an adapter that spells.")
        streaming, spelling = WhisperConfig(**encoder).build().eval(), CTCAdapterConfig(**adapter).build().eval()
        earlier.give(streaming, "encoder", streaming.config)
        earlier.give(spelling, "adapter", spelling.config)
        return cls(full_context(), streaming, spelling)

    @torch.inference_mode()
    def hear(self, batch: AsrBatch) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(frames [T, 384], the adapter's features [n, F] or None) of each clip."""
        frames, mask = self.whisper(ranged(batch.features), batch.lengths)
        if self.encoder is None or self.adapter is None:
            yield from ((one[inside].half(), None) for one, inside in zip(frames, mask, strict=True))
            return
        config = self.encoder.config
        streamed = self.encoder(batch.features, batch.lengths, config.chunk, config.left_chunks)
        _, heard, valid = self.adapter(*streamed)
        for one, inside, own, known in zip(frames, mask, heard, valid, strict=True):
            yield one[inside].half(), own[known].half()


def read(folder: Path) -> list[FeatureClip]:
    """Every clip in the folder. FobenchError where there is none."""
    found = [clip for path in sorted(folder.glob("frames-*.safetensors")) for clip in _told(path)]
    if not found:
        raise FobenchError(f"{folder} holds no frames-*.safetensors. Make them: fobench train frames --help")
    return found


def _told(path: Path) -> Iterator[FeatureClip]:
    with safe_open(path, "pt") as file:
        clips = json.loads(file.metadata()["config"])["clips"]
    return (FeatureClip(text, path, str(i), frames) for i, (text, frames) in enumerate(clips))


def framed(listening: AsrBatcher, indices: Sequence[int], epoch: int, ears: FeatureExtractor) -> list[Clip]:
    """Of clips, as they are in an epoch."""
    found: list[Clip] = []
    order = sorted(indices, key=lambda i: listening.corpus.entries[i].seconds)
    for begin in range(0, len(order), BATCH):
        batch = listening.load(order[begin : begin + BATCH], epoch)
        if batch is not None:
            found += [(text, *one) for text, one in zip(batch.texts, ears.hear(batch), strict=True)]
    return found


def write(clips: Sequence[Clip], path: Path) -> None:
    """A file of clips."""
    tensors = {str(i): frames for i, (_, frames, _) in enumerate(clips)}
    tensors |= {f"{i}.heard": heard for i, (_, _, heard) in enumerate(clips) if heard is not None}
    safetensors_io.save_tensors(tensors, {"clips": [(text, len(frames)) for text, frames, _ in clips]}, path)


@click.command(cls=StageCommand, help=__doc__)
@with_sources
@click.option("--init", type=PATH, help="Folder or file of input stage 1: keep what its adapter hears, too.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(sources: DataSources, init: Path | None, out: Path, seed: int, threads: int) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    ears, corpus = (
        FeatureExtractor.of(PretrainedWeights.read(init)) if init else FeatureExtractor(full_context()),
        sources.corpus(RATE_HZ),
    )
    listening = sources.listening(corpus, ears.whisper, seed, False, clean=False)
    order = torch.randperm(len(corpus), generator=torch.Generator().manual_seed(seed)).tolist()
    for number, begin in enumerate(range(0, len(order), FILE)):
        path = out / f"frames-{number:04d}.safetensors"
        if not path.exists():
            write(framed(listening, order[begin : begin + FILE], number, ears), path)
        print(f"{min(begin + FILE, len(order))} of {len(order)} clips", flush=True)
    if len(corpus.faults):
        print(f"{len(corpus.faults)} left out:\n{corpus.faults.told()}")


if __name__ == "__main__":
    main()
