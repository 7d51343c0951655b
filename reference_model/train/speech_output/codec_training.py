"""Training a codec from nothing but recordings: there and back, compared as spectrograms and, if wanted, judged by an adversary."""

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
from reference_model.train.engine.trainer import LoopConfig, in_full, to_device
from reference_model.train.speech_output.discriminators import DiscriminatorConfig, mel_distance

# HiFi-GAN's weights of being caught and of features, as shares of the spectral distance's, which is 1 here: then neither side's
# gradient is so large that clipping both together takes the other's away.
CAUGHT, FEATURES, COMMITMENT = 1 / 45, 2 / 45, 0.25
BETAS = (0.8, 0.99)  # of both sides while they contend, as in HiFi-GAN


def learning(quantizer: ResidualVQ, hidden: Tensor, steps: Tensor) -> Quantized:
    """A training step of the codebooks on what the encoder gives [B, D, F]; the first begins them. `steps` [] is counted up."""
    chance = torch.Generator().manual_seed(int(steps))
    if not steps:
        quantizer.start(hidden, chance)
    quantised: Quantized = quantizer(hidden)
    quantizer.follow(quantised, chance)
    steps += 1
    return quantised


class WaveformCodecLearner(nn.Module):
    """The whole codec, its generator weight-normed, and maybe an adversary."""

    steps: Tensor

    def __init__(self, codec: ReferenceCodec, adversary: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = codec.encoder, codec.quantizer, codec.decoder
        self.generator = weight_normed(codec.generator)
        self.adversary = adversary.build() if adversary else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._mels, self._rate_hz = codec.mels, codec.sample_rate_hz

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Crops [B, T], T a multiple of the hop -> sums over the crops."""
        audio = to_device(audio, self)
        with in_full(audio.device):
            hidden = self.encoder(self._mels(audio))
            quantised = learning(self.quantizer, hidden, self.steps) if self.training else self.quantizer(hidden)
            made = self.generator(self.decoder(quantised.values))
            means = {"mel": mel_distance(audio, made, self._rate_hz), "commitment": quantised.commitment}
            loss = means["mel"] + COMMITMENT * quantised.commitment
            if self.adversary is not None:
                verdict = self.adversary(audio, made)
                means |= {"wrong": verdict.wrong, "caught": verdict.caught, "features": verdict.features}
                loss = loss + verdict.wrong + CAUGHT * verdict.caught + FEATURES * verdict.features
        count = torch.tensor(float(len(audio)), device=audio.device)
        return {"loss": loss * count, "count": count, **{name: value * count for name, value in means.items()}}


@dataclass(slots=True)
class WaveformCodecStage:
    """Crops of `frames` codec frames of the clips of a corpus."""

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
        """Of a crop."""
        return self.frames * self.codec.hop

    @property
    def faults(self) -> SkippedSamples:
        return self.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        """Every crop lasts the same, whatever its clip does."""
        seconds = self.samples / self.codec.sample_rate_hz
        return BatchSampler([seconds] * len(self.corpus), loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> Tensor | None:
        crops = [one for index in indices if (one := self._crop(self.corpus, index, epoch)) is not None]
        return torch.stack(crops) if crops else None

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        betas = {"betas": BETAS} if self.adversary else {}
        return [{"params": list(self.module.parameters()), "lr": loop.lr, **betas}]

    def config(self) -> dict[str, Any]:
        return {"codec": asdict(self.codec), "adversary": asdict(self.adversary) if self.adversary else None}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The spectral distance, and how many rows of each codebook are in use (perplexity)."""
        distance, count = 0.0, 0.0
        for index in range(len(self.valid)):
            if (crop := self._crop(self.valid, index, 0)) is not None:
                found = self.module(crop[None])
                distance, count = distance + float(found["mel"]), count + 1
        return {"mel": distance / max(1.0, count), **used(self.module.quantizer.counts)}

    def _crop(self, corpus: Corpus, index: int, epoch: int) -> Tensor | None:
        """A part of a clip [T], silence behind a short one; None where it cannot be read."""
        samples = corpus.samples(index)
        if samples is None:
            return None
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(corpus.entries[index].id.encode())])
        begin = int(rng.integers(max(1, len(samples) - self.samples + 1)))
        part = samples[begin : begin + self.samples]
        return torch.from_numpy(np.pad(part, (0, self.samples - len(part))))


def valid_of(corpus: Corpus, sources: Sequence[Path], most: int) -> tuple[Corpus, Corpus]:
    """(clips to train on, clips kept aside): those of the sources' own validation split, or else a tenth; at most `most`."""
    try:
        kept = Corpus.open(sources, corpus.rate_hz, "valid")
        return corpus, subset(kept, range(min(most, len(kept))))
    except FobenchError:  # it has none
        count = min(most, max(1, len(corpus) // 10))
        if len(corpus) < 2:
            raise FobenchError("One clip is too few to learn from and to validate with. Give more --data.") from None
        return subset(corpus, range(count, len(corpus))), subset(corpus, range(count))


def used(counts: Tensor) -> dict[str, float]:
    """{"rows_K": perplexity of codebook K} from how often its rows [K, N] are used."""
    shares = counts / counts.sum(1, keepdim=True)
    perplexity = torch.exp(-(shares * (shares + 1e-12).log()).sum(1))
    return {f"rows_{k}": float(p) for k, p in enumerate(perplexity)}


def trainable(config: CodecConfig | TiCodecConfig) -> CodecConfig:
    """The codec to train for a model: of the published one, our own with its rate, frames, codebook and generator."""
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
