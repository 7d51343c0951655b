"""Trains output stage 1, the codec, in one of two ways.

    python -m reference_model.train.stages.output_1 --latents runs/data/latents --out runs/train/output-1
    python -m reference_model.train.stages.output_1 --config paper --data runs/data/output --adversarial --out runs/train/codec

From recordings (`--data`) all of it learns (`train.waves`), against an adversary if wanted, as the paper's codec did. From a
published generator's latents the generator is Piper's and stays as it is; encoder, quantiser and decoder learn to give it the
latents that it knows. No gradient passes through the generator, which is why this takes minutes. Beside the encoder of sound a
reader of latents learns the same codes: output stage 2 has texts turned into codes by it, without any sound being made.
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
from reference_model.train.engine.trainer import in_full, to_device
from reference_model.train.speech_output.codec_training import (
    WaveformCodecLearner,
    WaveformCodecStage,
    learning,
    trainable,
    used,
    valid_of,
)
from reference_model.train.speech_output.discriminators import DiscriminatorConfig
from reference_model.train.speech_output.stage_checkpoints import latents_reader
from reference_model.train.stages.dry_run import DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis import piper_latents

FRAMES = 64  # codec frames of a crop
CROPS = 32  # in a batch
VALID = 60  # pairs kept aside
COMMITMENT = 0.25


@dataclass(frozen=True, slots=True)
class SpeechLatents:
    """Speech [T] and its latents [C, T / 256]."""

    audio: Tensor
    latents: Tensor


def read(folder: Path) -> list[SpeechLatents]:
    """Every pair in the folder that has its sound. FobenchError where there are too few."""
    found = [SpeechLatents(one.audio, one.latents) for one in piper_latents.read(folder) if one.audio is not None]
    if len(found) < 2:
        raise FobenchError(f"{folder} holds {len(found)} pairs of sound and latents. Make them without --silent.")
    return found


class CodecLearner(nn.Module):
    """The codec without its generator, which is kept apart: it is not trained."""

    steps: Tensor

    def __init__(self, codec: ReferenceCodec) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = codec.encoder, codec.quantizer, codec.decoder
        self.reader = latents_reader(codec.config)
        self._mels = codec.mels
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: SpeechLatents) -> dict[str, Tensor]:
        """Crops: audio [B, T], latents [B, C, F]."""
        audio, wanted = to_device(batch.audio, self), to_device(batch.latents, self)
        with in_full(audio.device):
            hidden = torch.cat([self.encoder(self._mels(audio)), self.reader(wanted)])
            quantised = learning(self.quantizer, hidden, self.steps) if self.training else self.quantizer(hidden)
            missed = (self.decoder(quantised.values) - wanted.repeat(2, 1, 1)).square().mean((1, 2)) / wanted.var()
            heard, known = missed[: len(audio)].mean(), missed[len(audio) :].mean()
        loss = heard + known + COMMITMENT * quantised.commitment
        count = torch.tensor(float(len(audio)), device=audio.device)
        return {
            "loss": loss * count,
            "heard": heard * count,
            "known": known * count,
            "commitment": quantised.commitment * count,
            "count": count,
        }


@dataclass(slots=True)
class CodecStage:
    """Crops of pairs."""

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
        found = self.module(batch)
        means = {name: float(found[name] / found["count"]) for name in ("heard", "known")}
        return {**means, **used(self.module.quantizer.counts)}


def crop(pair: SpeechLatents, rng: np.random.Generator) -> SpeechLatents:
    """FRAMES codec frames of a pair, silence behind a short one."""
    frames = 2 * FRAMES
    begin = 2 * int(rng.integers(max(1, (pair.latents.shape[1] - frames) // 2 + 1)))
    latents = pair.latents[:, begin : begin + frames].float()
    audio = pair.audio[begin * 256 : (begin + frames) * 256].float() / 32767
    short = frames - latents.shape[1]
    if short > 0:  # the last frame again and again: near silence
        latents = torch.cat([latents, latents[:, -1:].expand(-1, short)], 1)
    return SpeechLatents(functional.pad(audio, (0, frames * 256 - len(audio))), latents)


def from_latents(config: CodecConfig, folder: Path) -> CodecStage:
    """FobenchError where the codec's generator is not the one that the latents are of."""
    if config.generator != PIPER_GENERATOR:
        raise FobenchError("--latents are of Piper's generator; this configuration's codec has another. Give --data.")
    found = read(folder)
    kept = min(VALID, max(1, len(found) // 10))
    learner = CodecLearner(ReferenceCodec(config))
    return CodecStage(learner, found[kept:], found[:kept], about={"codec": asdict(config)})


def from_recordings(
    config: CodecConfig, data: Sequence[Path], adversary: DiscriminatorConfig | None, frames: int
) -> WaveformCodecStage:
    """FobenchError where there is no clip to learn from, or none to validate with."""
    corpus = Corpus.open(data, config.sample_rate_hz)
    train, valid = valid_of(corpus, data, VALID)
    click.echo(f"{len(train):,} clips, {train.hours:.1f} h", err=True)
    return WaveformCodecStage(
        WaveformCodecLearner(ReferenceCodec(config), adversary), train, valid, config, adversary, frames
    )


def sample_output_1(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: crops of recordings, or of sound and latents of a published generator."""
    config, options = trainable(case.config.codec), case.options
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
    adversary = DiscriminatorConfig(width) if options.get("adversarial") else None
    with case.device:
        waves = WaveformCodecLearner(config.build(), adversary)
    stage = WaveformCodecStage(waves, NoData.corpus, NoData.corpus, config, adversary, frames)
    audio = torch.zeros(case.clips(seconds), samples, device=case.device)
    return DryRunBatch(stage, audio, case.said(seconds, "crops"), in_full=True)


@stage_command(config="small", sample=sample_output_1, steps=6000, lr=1e-3, warmup=100, validate_every=500)
@click.option(
    "--data", multiple=True, type=click.Path(path_type=Path), help="Shards or a manifest of recordings; repeatable."
)
@click.option("--latents", "folder", type=click.Path(path_type=Path), help="Folder of train.latents, instead.")
@click.option("--adversarial", is_flag=True, help="Recordings: discriminators judge the sound, too.")
@click.option(
    "--width",
    default=DiscriminatorConfig().width,
    show_default=True,
    help="Channels of the discriminators' first layers.",
)
@click.option("--frames", default=FRAMES, show_default=True, help="Recordings: codec frames of a crop.")
def main(
    order: StageRun, data: Sequence[Path], folder: Path | None, adversarial: bool, width: int, frames: int
) -> None:
    """Trains output stage 1: the codec, from recordings or from a published generator's latents."""
    torch.manual_seed(order.loop.seed)
    if bool(data) == bool(folder):
        raise FobenchError("Give recordings (--data), or a published generator's latents (--latents): one of the two.")
    config = trainable(order.config.codec)
    if folder:
        order.train(from_latents(config, folder))
    else:
        order.train(from_recordings(config, data, DiscriminatorConfig(width) if adversarial else None, frames))


if __name__ == "__main__":
    main()
