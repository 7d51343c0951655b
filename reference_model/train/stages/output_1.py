"""Output stage 1, the codec (Freeze-Omni, arXiv 2411.00774, section 3.3), trained in one of two ways.

    fobench train output-1 --latents runs/data/latents --out runs/train/output-1
    fobench train output-1 --config paper --data runs/data/output --adversarial --out runs/train/codec

From recordings (`--data`) the whole codec is trained (`codec_training`) with reconstruction losses and, with --adversarial, the GAN and
feature losses of the paper. From the latents of a TTS voice (`--latents`) the generator is Piper's and frozen; encoder, quantizer and
decoder are trained with the squared error of the latents. No gradient passes through the generator, so this takes minutes. A second
encoder, of latents, learns the same codes: output stage 2 encodes texts with it without synthesizing audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.codec.hifigan import PIPER_GENERATOR
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.trainer import full_precision, to_device
from reference_model.train.speech_output.codec_training import (
    WaveformCodecLearner,
    WaveformCodecStage,
    codebook_perplexity,
    split_validation,
    train_codebooks,
    trainable_config,
)
from reference_model.train.speech_output.discriminators import DiscriminatorConfig
from reference_model.train.speech_output.stage_checkpoints import build_latents_encoder
from reference_model.train.stages.dry_run import DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis import piper_latents

FRAMES = 64  # codec frames per crop
CROPS = 32  # crops per batch
VALID = 60  # pairs held out for validation
COMMITMENT = 0.25  # weight of the commitment loss


@dataclass(frozen=True, slots=True)
class SpeechLatents:
    """Speech [T] and its latents [C, T / 256]."""

    audio: Tensor
    latents: Tensor


def read(folder: Path) -> list[SpeechLatents]:
    """Reads all pairs in the folder that have audio. FobenchError where there are too few."""
    pairs = [SpeechLatents(one.audio, one.latents) for one in piper_latents.read(folder) if one.audio is not None]
    if len(pairs) < 2:
        raise FobenchError(f"{folder} holds {len(pairs)} pairs of audio and latents. Make them without --silent.")
    return pairs


class CodecLearner(nn.Module):
    """The codec without its frozen generator."""

    steps: Tensor

    def __init__(self, codec: ReferenceCodec) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = codec.encoder, codec.quantizer, codec.decoder
        self.reader = build_latents_encoder(codec.config)
        self._mels = codec.mels
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: SpeechLatents) -> dict[str, Tensor]:
        """Returns the losses of crops, audio [B, T] and latents [B, C, F], summed over the batch."""
        audio, latents = to_device(batch.audio, self), to_device(batch.latents, self)
        with full_precision(audio.device):
            hidden = torch.cat([self.encoder(self._mels(audio)), self.reader(latents)])
            quantized = train_codebooks(self.quantizer, hidden, self.steps) if self.training else self.quantizer(hidden)
            errors = (self.decoder(quantized.values) - latents.repeat(2, 1, 1)).square().mean((1, 2)) / latents.var()
            audio_error, latent_error = errors[: len(audio)].mean(), errors[len(audio) :].mean()
        loss = audio_error + latent_error + COMMITMENT * quantized.commitment
        count = torch.tensor(float(len(audio)), device=audio.device)
        return {
            "loss": loss * count,
            "heard": audio_error * count,
            "known": latent_error * count,
            "commitment": quantized.commitment * count,
            "count": count,
        }


@dataclass(slots=True)
class CodecStage:
    """Training stage of the codec on crops of pairs of audio and latents."""

    module: CodecLearner
    pairs: list[SpeechLatents]
    valid: list[SpeechLatents]
    seed: int = 0
    name: str = "output-1"
    about: dict[str, Any] = field(default_factory=dict)

    def batches(self, loop: LoopConfig) -> BatchSampler:
        return BatchSampler([1.0] * len(self.pairs), CROPS, CROPS, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> SpeechLatents:
        rng = np.random.default_rng([self.seed, epoch, indices[0]])
        crops = [crop(self.pairs[i], rng) for i in indices]
        return SpeechLatents(torch.stack([c.audio for c in crops]), torch.stack([c.latents for c in crops]))

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        rng = np.random.default_rng(0)
        crops = [crop(pair, rng) for pair in self.valid]
        batch = SpeechLatents(torch.stack([c.audio for c in crops]), torch.stack([c.latents for c in crops]))
        sums = self.module(batch)
        means = {name: float(sums[name] / sums["count"]) for name in ("heard", "known")}
        return {**means, **codebook_perplexity(self.module.quantizer.counts)}


def crop(pair: SpeechLatents, rng: np.random.Generator) -> SpeechLatents:
    """Returns a random crop of FRAMES codec frames, padded with silence."""
    frames = 2 * FRAMES
    begin = 2 * int(rng.integers(max(1, (pair.latents.shape[1] - frames) // 2 + 1)))
    latents = pair.latents[:, begin : begin + frames].float()
    audio = pair.audio[begin * 256 : (begin + frames) * 256].float() / 32767
    missing = frames - latents.shape[1]
    if missing > 0:  # the last frame, repeated, is close to silence
        latents = torch.cat([latents, latents[:, -1:].expand(-1, missing)], 1)
    return SpeechLatents(functional.pad(audio, (0, frames * 256 - len(audio))), latents)


def from_latents(config: CodecConfig, folder: Path) -> CodecStage:
    """Makes the stage that trains on latents. FobenchError where the codec's generator is not Piper's."""
    if config.generator != PIPER_GENERATOR:
        raise FobenchError(
            "--latents are those of Piper's generator; this configuration's codec has another. Give --data."
        )
    pairs = read(folder)
    held_out = min(VALID, max(1, len(pairs) // 10))
    learner = CodecLearner(ReferenceCodec(config))
    return CodecStage(learner, pairs[held_out:], pairs[:held_out], about={"codec": asdict(config)})


def from_recordings(
    config: CodecConfig, data: Sequence[Path], discriminators: DiscriminatorConfig | None, frames: int
) -> WaveformCodecStage:
    """Makes the stage that trains on recordings.

    FobenchError where there is no clip to train on or to validate with.
    """
    corpus = Corpus.open(data, config.sample_rate_hz)
    train, valid = split_validation(corpus, data, VALID)
    click.echo(f"{len(train):,} clips, {train.hours:.1f} h", err=True)
    return WaveformCodecStage(
        WaveformCodecLearner(ReferenceCodec(config), discriminators), train, valid, config, discriminators, frames
    )


def sample_output_1(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: crops of recordings, or of audio and latents."""
    config, options = trainable_config(case.config.codec), case.options
    frames = options.get("frames") or FRAMES
    samples, seconds = frames * config.hop, frames * config.hop / config.sample_rate_hz
    if config.generator == PIPER_GENERATOR and not options.get("data"):
        with case.device:
            learner = CodecLearner(config.build())
        count = CROPS // case.devices
        latents = torch.randn(count, config.generator.inputs, frames * config.stack, device=case.device)
        pair = SpeechLatents(torch.zeros(count, samples, device=case.device), latents)
        return DryRunBatch(CodecStage(learner, [], []), pair, f"{count} crops, {count * seconds:.0f} s", True)
    width = options.get("width") or DiscriminatorConfig().width
    discriminators = DiscriminatorConfig(width) if options.get("adversarial") else None
    with case.device:
        waves = WaveformCodecLearner(config.build(), discriminators)
    stage = WaveformCodecStage(waves, NoData.corpus, NoData.corpus, config, discriminators, frames)
    audio = torch.zeros(case.clip_count(seconds), samples, device=case.device)
    return DryRunBatch(stage, audio, case.describe_batch(seconds, "crops"), full_precision=True)


@stage_command(config="small", sample=sample_output_1, steps=6000, lr=1e-3, warmup=100, validate_every=500)
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of shards, or a manifest, of recordings; repeatable.",
)
@click.option(
    "--latents", "folder", type=click.Path(path_type=Path), help="Folder of fobench train latents, instead of --data."
)
@click.option("--adversarial", is_flag=True, help="With --data: add discriminators and GAN losses.")
@click.option(
    "--width",
    default=DiscriminatorConfig().width,
    show_default=True,
    help="Channels of the discriminators' first layers.",
)
@click.option("--frames", default=FRAMES, show_default=True, help="With --data: codec frames per crop.")
def main(run: StageRun, data: Sequence[Path], folder: Path | None, adversarial: bool, width: int, frames: int) -> None:
    """Trains output stage 1: the codec, on recordings or on a TTS voice's latents."""
    torch.manual_seed(run.loop.seed)
    if bool(data) == bool(folder):
        raise FobenchError("Give either recordings (--data) or a TTS voice's latents (--latents).")
    config = trainable_config(run.config.codec)
    if folder:
        run.train(from_latents(config, folder))
    else:
        run.train(from_recordings(config, data, DiscriminatorConfig(width) if adversarial else None, frames))


if __name__ == "__main__":
    main()
