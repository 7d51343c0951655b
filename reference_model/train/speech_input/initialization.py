"""Where the training of a listening side begins: an earlier training's weights, Whisper's, or none."""

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

UNITS = 512
WARM = 0.5  # times the rate of what starts afresh: for an encoder that has learnt before
STATISTICS = 300  # clips that the features' mean and deviation are taken from


@dataclass(frozen=True, slots=True)
class Initializer:
    """For which model, with which texts, from which earlier weights."""

    config: ModelConfig
    corpus: Corpus
    earlier: PretrainedWeights | None = None

    @property
    def warm(self) -> bool:
        """Whether the encoder begins with weights that have learnt before."""
        return self.earlier is not None or fits_whisper(self.config.encoder)

    def encoder(self) -> SpeechEncoder:
        """With the earlier training's weights; without one with Whisper's, if they fit, else at random."""
        encoder = self.config.encoder.build()
        if self.earlier:
            self.earlier.give(encoder, "encoder", encoder.config)
        elif isinstance(encoder, ConvTransformerEncoder):
            set_statistics(encoder, self.corpus)
        elif self.warm:
            encoder.load_whisper(whisper())
        return encoder

    def give(self, part: nn.Module, name: str, config: Any) -> bool:
        """Fills a part with the earlier training's, if that has such a part. FobenchError if it is of another configuration."""
        if self.earlier is None or self.earlier.about(name) is None:
            return False
        self.earlier.give(part, name, config)
        return True

    def tensor(self, name: str, new: torch.Tensor) -> torch.Tensor:
        """A parameter of the model's own: the earlier training's, or a new one. FobenchError if that is of another shape."""
        found = self.earlier.tensors.get(name, new) if self.earlier else new
        if self.earlier and found.shape != new.shape:
            raise FobenchError(
                f"{self.earlier.path} has a {name} of shape {list(found.shape)}, not {list(new.shape)}. Choose another --init."
            )
        return found.to(new)

    def units(self, path: Path) -> BPEUnits:
        """Those in the file; if there is none yet, the earlier training's, or learnt from the texts, and kept in it."""
        with PartialState().main_process_first():
            if not path.is_file():
                path.write_text(self._units().merges, encoding="utf-8")
            return BPEUnits(path.read_text(encoding="utf-8"))

    def _units(self) -> BPEUnits:
        parts = [self.earlier.about(name) for name in ("adapter", "head")] if self.earlier else []
        known = [part["units"] for part in parts if part and part.get("units")]
        return BPEUnits(known[0]) if known else BPEUnits.learn([entry.text for entry in self.corpus.entries], UNITS)


def teacher_of(config: ModelConfig) -> WhisperStreamingEncoder:
    """Whisper tiny.en in full context. FobenchError for an encoder whose frames are not as many as Whisper's."""
    if not isinstance(config.encoder, WhisperConfig):
        raise FobenchError(
            f"--near is for encoders of kind whisper; that of {config.name} is of another kind. Use --free."
        )
    return full_context()


def fits_whisper(config: Any) -> bool:
    """Whether Whisper tiny's weights fit into an encoder: layers may be added, and attention limited."""
    tiny = WhisperConfig()
    if not isinstance(config, WhisperConfig) or config.layers < tiny.layers:
        return False
    free = ("layers", "chunk", "left_chunks", "dropout")
    return replace(config, **{name: getattr(tiny, name) for name in free}) == tiny


def set_statistics(encoder: ConvTransformerEncoder, corpus: Corpus) -> None:
    """Mean and deviation of the features over some clips (global CMVN). FobenchError where none can be read."""
    chosen = random.Random(0).sample(range(len(corpus)), min(STATISTICS, len(corpus)))
    clips = [samples for index in sorted(chosen) if (samples := corpus.samples(index)) is not None]
    if not clips:
        raise FobenchError(f"Not one of {len(chosen)} clips can be read:\n{corpus.faults}")
    features = torch.cat([encoder.front.offline(torch.from_numpy(samples)[None])[0] for samples in clips])  # [N, mels]
    encoder.mean.copy_(features.mean(0))
    encoder.istd.copy_(1.0 / features.std(0).clamp(min=1e-3))
