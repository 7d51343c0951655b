"""Features for second-pass training: frames of Whisper's frozen encoder, extracted once and cached in files.

    fobench train frames --data runs/data/input --out runs/data/frames

One safetensors file holds some hundred clips, augmented as for input stage 1: `<n>` float16 [T, 384], full-context frames at 50 Hz;
with `--init`, for a second pass that corrects, `<n>.heard` float16 [n, F], the features of the streaming adapter of input stage 1; in
the metadata, the transcripts. An interrupted run resumes after its last file. Unusable clips are skipped and listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
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

FILE = 320  # clips per file
BATCH = 16  # clips encoded together

ExtractedClip = tuple[str, Tensor, Tensor | None]  # text, frames, the adapter's features


@dataclass(frozen=True, slots=True)
class FeatureClip:
    """Location of a cached clip: transcript, file and key, and its number of `frames`."""

    text: str
    path: Path
    key: str
    frames: int

    def load(self, with_adapter: bool) -> tuple[Tensor, Tensor | None]:
        """Reads (frames [T, 384], adapter features [n, F] or None), float16.

        FobenchError where the file lacks the features.
        """
        with safetensors_io.opened(self.path) as file:
            if with_adapter and f"{self.key}.heard" not in file.keys():  # noqa: SIM118
                raise FobenchError(f"{self.path} has no adapter features. Make it with fobench train frames --init.")
            return file.get_tensor(self.key), file.get_tensor(f"{self.key}.heard") if with_adapter else None


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """Full-context Whisper and, optionally, the streaming encoder and CTC adapter of input stage 1."""

    whisper: WhisperStreamingEncoder
    encoder: WhisperStreamingEncoder | None = None
    adapter: CTCAdapter | None = None

    @classmethod
    def of(cls, pretrained: PretrainedWeights) -> FeatureExtractor:
        """Loads encoder and adapter of input stage 1. FobenchError where they are of another kind."""
        encoder_config, adapter_config = pretrained.part_config("encoder"), pretrained.part_config("adapter")
        if not encoder_config or not adapter_config or "units" not in adapter_config or "mels" not in encoder_config:
            raise FobenchError(f"{pretrained.path} has no Whisper encoder with a CTC adapter.")
        encoder, adapter = (
            WhisperConfig(**encoder_config).build().eval(),
            CTCAdapterConfig(**adapter_config).build().eval(),
        )
        pretrained.fill_checked(encoder, "encoder", encoder.config)
        pretrained.fill_checked(adapter, "adapter", adapter.config)
        return cls(full_context(), encoder, adapter)

    @torch.inference_mode()
    def extract(self, batch: AsrBatch) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields (frames [T, 384], adapter features [n, F] or None) of each clip."""
        frames, mask = self.whisper(ranged(batch.features), batch.lengths)
        if self.encoder is None or self.adapter is None:
            yield from ((one[inside].half(), None) for one, inside in zip(frames, mask, strict=True))
            return
        config = self.encoder.config
        streamed = self.encoder(batch.features, batch.lengths, config.chunk, config.left_chunks)
        _, features, valid = self.adapter(*streamed)
        for one, inside, clip_features, valid_outputs in zip(frames, mask, features, valid, strict=True):
            yield one[inside].half(), clip_features[valid_outputs].half()


def read(folder: Path) -> list[FeatureClip]:
    """Lists all cached clips of a folder. FobenchError where there is none."""
    found = [clip for path in sorted(folder.glob("frames-*.safetensors")) for clip in _read_file(path)]
    if not found:
        raise FobenchError(f"{folder} holds no frames-*.safetensors. Make them: fobench train frames --help")
    return found


def _read_file(path: Path) -> Iterator[FeatureClip]:
    with safetensors_io.opened(path) as file:
        try:
            clips = json.loads((file.metadata() or {})["config"])["clips"]
        except (KeyError, ValueError, TypeError) as error:
            raise FobenchError(f"{path} holds no cached clips. Make it with fobench train frames.") from error
    return (FeatureClip(text, path, str(i), frames) for i, (text, frames) in enumerate(clips))


def extract_clips(
    batcher: AsrBatcher, indices: Sequence[int], epoch: int, extractor: FeatureExtractor
) -> list[ExtractedClip]:
    """Extracts the features of augmented clips of an epoch."""
    found: list[ExtractedClip] = []
    order = sorted(indices, key=lambda i: batcher.corpus.entries[i].seconds)
    for begin in range(0, len(order), BATCH):
        batch = batcher.load(order[begin : begin + BATCH], epoch)
        if batch is not None:
            found += [(text, *one) for text, one in zip(batch.texts, extractor.extract(batch), strict=True)]
    return found


def write(clips: Sequence[ExtractedClip], path: Path) -> None:
    """Writes clips to a file."""
    tensors = {str(i): frames for i, (_, frames, _) in enumerate(clips)}
    tensors |= {
        f"{i}.heard": adapter_features
        for i, (_, _, adapter_features) in enumerate(clips)
        if adapter_features is not None
    }
    safetensors_io.save_tensors(tensors, {"clips": [(text, len(frames)) for text, frames, _ in clips]}, path)


@click.command(cls=StageCommand, help=__doc__)
@with_sources
@click.option("--init", type=PATH, help="Folder or file of input stage 1: cache its adapter features too.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
def main(sources: DataSources, init: Path | None, out: Path, seed: int, threads: int) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    extractor, corpus = (
        FeatureExtractor.of(PretrainedWeights.read(init)) if init else FeatureExtractor(full_context()),
        sources.corpus(RATE_HZ),
    )
    batcher = sources.batcher(corpus, extractor.whisper, seed, False, clean=False)
    order = torch.randperm(len(corpus), generator=torch.Generator().manual_seed(seed)).tolist()
    for number, begin in enumerate(range(0, len(order), FILE)):
        path = out / f"frames-{number:04d}.safetensors"
        if not path.exists():
            write(extract_clips(batcher, order[begin : begin + FILE], number, extractor), path)
        print(f"{min(begin + FILE, len(order))} of {len(order)} clips", flush=True)
    if len(corpus.faults):
        print(f"{len(corpus.faults)} skipped:\n{corpus.faults.describe()}")


if __name__ == "__main__":
    main()
