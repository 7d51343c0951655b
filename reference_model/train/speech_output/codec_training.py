"""Codec training on recordings: encode-decode with a spectral loss and, optionally, discriminators."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fobench.errors import FobenchError
from reference_model.codec.hifigan import weight_normed
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
from reference_model.codec.residual_vq import Quantized, ResidualVQ
from reference_model.codec.ticodec import TiCodecConfig
from reference_model.train.data.corpus import Corpus, subset
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, full_precision, to_device
from reference_model.train.speech_output.discriminators import DiscriminatorConfig, mel_distance

# HiFi-GAN's weights of the adversarial and the feature-matching loss, relative to the spectral loss, whose weight is 1:
# gradients of generator and discriminators then have similar norms, so that clipping them together suppresses neither.
ADVERSARIAL_WEIGHT, FEATURE_WEIGHT, COMMITMENT_WEIGHT = 1 / 45, 2 / 45, 0.25
BETAS = (0.8, 0.99)  # AdamW's, of generator and discriminators, as in HiFi-GAN


def train_codebooks(quantizer: ResidualVQ, hidden: Tensor, steps: Tensor) -> Quantized:
    """Quantizes the encoder output [B, D, F] and updates the codebooks; the first step initializes them.

    Increments `steps` [].
    """
    generator = torch.Generator().manual_seed(int(steps))
    if not steps:
        quantizer.start(hidden, generator)
    quantized: Quantized = quantizer(hidden)
    quantizer.follow(quantized, generator)
    steps += 1
    return quantized


class WaveformCodecLearner(nn.Module):
    """A complete codec with a weight-normalized generator and optional discriminators (`adversary`)."""

    steps: Tensor

    def __init__(self, codec: ReferenceCodec, adversary: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = codec.encoder, codec.quantizer, codec.decoder
        self.generator = weight_normed(codec.generator)
        self.adversary = adversary.build() if adversary else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._mels, self._rate_hz = codec.mels, codec.sample_rate_hz

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Returns the losses of crops [B, T], T a multiple of the hop, as sums over the crops."""
        audio = to_device(audio, self)
        with full_precision(audio.device):
            hidden = self.encoder(self._mels(audio))
            quantized = train_codebooks(self.quantizer, hidden, self.steps) if self.training else self.quantizer(hidden)
            generated = self.generator(self.decoder(quantized.values))
            means = {"mel": mel_distance(audio, generated, self._rate_hz), "commitment": quantized.commitment}
            loss = means["mel"] + COMMITMENT_WEIGHT * quantized.commitment
            if self.adversary is not None:
                output = self.adversary(audio, generated)
                means |= {
                    "wrong": output.discriminator_loss,
                    "caught": output.generator_loss,
                    "features": output.feature_loss,
                }
                loss = loss + output.discriminator_loss
                loss = loss + ADVERSARIAL_WEIGHT * output.generator_loss + FEATURE_WEIGHT * output.feature_loss
        count = torch.tensor(float(len(audio)), device=audio.device)
        return {"loss": loss * count, "count": count, **{name: value * count for name, value in means.items()}}


@dataclass(slots=True)
class WaveformCodecStage:
    """Codec training on crops of `frames` codec frames of the clips of a corpus."""

    module: WaveformCodecLearner
    corpus: Corpus
    valid: Corpus
    codec: CodecConfig
    adversary: DiscriminatorConfig | None = None
    frames: int = 64
    seed: int = 0
    name: str = "output-1"

    @property
    def samples(self) -> int:
        """The length of a crop in samples."""
        return self.frames * self.codec.hop

    @property
    def faults(self) -> SkippedSamples:
        return self.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        """Returns batches of crops, which all have the same length."""
        seconds = self.samples / self.codec.sample_rate_hz
        return BatchSampler([seconds] * len(self.corpus), loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> Tensor | None:
        crops = [crop for index in indices if (crop := self._crop(self.corpus, index, epoch)) is not None]
        return torch.stack(crops) if crops else None

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        betas = {"betas": BETAS} if self.adversary else {}
        return [{"params": list(self.module.parameters()), "lr": loop.lr, **betas}]

    def config(self) -> dict[str, Any]:
        return {"codec": asdict(self.codec), "adversary": asdict(self.adversary) if self.adversary else None}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the mean spectral distance and the perplexity of each codebook."""
        distance, count = 0.0, 0.0
        for index in range(len(self.valid)):
            if (crop := self._crop(self.valid, index, 0)) is not None:
                output = self.module(crop[None])
                distance, count = distance + float(output["mel"]), count + 1
        return {"mel": distance / max(1.0, count), **codebook_perplexity(self.module.quantizer.counts)}

    def _crop(self, corpus: Corpus, index: int, epoch: int) -> Tensor | None:
        """Returns a random crop [T] of a clip, zero-padded if the clip is short, or None if it cannot be read."""
        samples = corpus.samples(index)
        if samples is None:
            return None
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(corpus.entries[index].id.encode())])
        begin = int(rng.integers(max(1, len(samples) - self.samples + 1)))
        crop = samples[begin : begin + self.samples]
        return torch.from_numpy(np.pad(crop, (0, self.samples - len(crop))))


def split_validation(corpus: Corpus, sources: Sequence[Path], limit: int) -> tuple[Corpus, Corpus]:
    """Returns (training clips, validation clips): the sources' validation split, or else a tenth of the clips; at most
    `limit`.

    Raises FobenchError for a single clip.
    """
    try:
        valid = Corpus.open(sources, corpus.rate_hz, "valid")
        return corpus, subset(valid, range(min(limit, len(valid))))
    except FobenchError:  # no source has one
        count = min(limit, max(1, len(corpus) // 10))
        if len(corpus) < 2:
            raise FobenchError("One clip is not enough for training and validation. Give more --data.") from None
        return subset(corpus, range(count, len(corpus))), subset(corpus, range(count))


def codebook_perplexity(counts: Tensor) -> dict[str, float]:
    """Returns {"rows_K": perplexity of codebook K} from the usage counts [K, N] of its rows."""
    shares = counts / counts.sum(1, keepdim=True)
    perplexity = torch.exp(-(shares * (shares + 1e-12).log()).sum(1))
    return {f"rows_{k}": float(p) for k, p in enumerate(perplexity)}


def trainable_config(config: CodecConfig | TiCodecConfig) -> CodecConfig:
    """Returns the configuration of the codec to train.

    The published codec cannot be trained; its replacement is a reference codec of the same rate, hop, codebook and
    generator.
    """
    if isinstance(config, CodecConfig):
        return config
    size = config.generator.inputs
    return CodecConfig(
        sample_rate_hz=config.sample_rate_hz,
        hop=config.hop,
        codebooks=config.num_codebooks,
        cardinality=config.cardinality,
        width=size,
        mels=100,
        fft=2048,
        generator=replace(config.generator, global_size=None),
    )
