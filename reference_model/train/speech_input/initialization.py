"""Initial weights of the speech-input stages: of an earlier training, of Whisper, or random."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.conv_transformer import ConvTransformerEncoder
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder
from reference_model.speech_input.whisper_weights import full_context, whisper
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.pretrained import PretrainedWeights

UNITS = 512  # BPE tokens
PRETRAINED_LR_SCALE = 0.5  # learning rate of a pretrained encoder, relative to that of new parts
STATISTICS = 300  # clips for the mean and deviation of the features


@dataclass(frozen=True, slots=True)
class Initializer:
    """Builds the parts of a model with their initial weights.

    `corpus`: texts and features for BPE and CMVN; `pretrained`: of --init.
    """

    config: ModelConfig
    corpus: Corpus
    pretrained: PretrainedWeights | None = None

    @property
    def is_pretrained(self) -> bool:
        """Whether the encoder starts from pretrained weights."""
        return self.pretrained is not None or fits_whisper(self.config.encoder)

    def encoder(self) -> SpeechEncoder:
        """Builds the encoder with the weights of --init, else Whisper's where they fit, else random initialization."""
        encoder = self.config.encoder.build()
        if self.pretrained:
            self.pretrained.fill_checked(encoder, "encoder", encoder.config)
        elif isinstance(encoder, ConvTransformerEncoder):
            set_cmvn(encoder, self.corpus)
        elif self.is_pretrained:
            encoder.load_whisper(whisper())
        return encoder

    def load_part(self, part: nn.Module, name: str, config: Any) -> bool:
        """Loads a part from the pretrained weights; returns whether they have it.

        FobenchError if its configuration differs.
        """
        if self.pretrained is None or self.pretrained.part_config(name) is None:
            return False
        self.pretrained.fill_checked(part, name, config)
        return True

    def tensor(self, name: str, new: torch.Tensor) -> torch.Tensor:
        """Returns a parameter of the pretrained weights, or `new`. FobenchError if the shapes differ."""
        value = self.pretrained.tensors.get(name, new) if self.pretrained else new
        if self.pretrained and value.shape != new.shape:
            raise FobenchError(
                f"{self.pretrained.path} has a {name} of shape {list(value.shape)}, not {list(new.shape)}. Choose another --init."
            )
        return value.to(new)

    def units(self, path: Path) -> BPEUnits:
        """Reads the BPE vocabulary from a file; creates it first, from the pretrained weights or by learning it from
        the texts."""
        with PartialState().main_process_first():
            if not path.is_file():
                path.write_text(self._units().merges, encoding="utf-8")
            return BPEUnits(path.read_text(encoding="utf-8"))

    def _units(self) -> BPEUnits:
        parts = [self.pretrained.part_config(name) for name in ("adapter", "head")] if self.pretrained else []
        known = [part["units"] for part in parts if part and part.get("units")]
        return BPEUnits(known[0]) if known else BPEUnits.learn([entry.text for entry in self.corpus.entries], UNITS)


def load_teacher(config: ModelConfig) -> WhisperStreamingEncoder:
    """Returns Whisper tiny.en with full context.

    FobenchError for an encoder of another kind, whose frame rate differs.
    """
    if not isinstance(config.encoder, WhisperConfig):
        raise FobenchError(
            f"--near is for encoders of kind whisper; that of {config.name} is of another kind. Use --free."
        )
    return full_context()


def fits_whisper(config: Any) -> bool:
    """Returns whether Whisper tiny's weights fit an encoder, which may have more layers and limited attention."""
    tiny = WhisperConfig()
    if not isinstance(config, WhisperConfig) or config.layers < tiny.layers:
        return False
    free = ("layers", "chunk", "left_chunks", "dropout")
    return replace(config, **{name: getattr(tiny, name) for name in free}) == tiny


def set_cmvn(encoder: ConvTransformerEncoder, corpus: Corpus) -> None:
    """Sets global CMVN: mean and inverse deviation of the features over some clips.

    FobenchError where none can be read.
    """
    chosen = random.Random(0).sample(range(len(corpus)), min(STATISTICS, len(corpus)))
    clips = [samples for index in sorted(chosen) if (samples := corpus.samples(index)) is not None]
    if not clips:
        raise FobenchError(f"None of {len(chosen)} clips can be read:\n{corpus.faults}")
    features = torch.cat([encoder.front.offline(torch.from_numpy(samples)[None])[0] for samples in clips])  # [N, mels]
    encoder.mean.copy_(features.mean(0))
    encoder.istd.copy_(1.0 / features.std(0).clamp(min=1e-3))
