"""The part of a training stage that every stage with transcribed speech shares: its batches and its validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from reference_model.train.data.asr_batches import AROUND_S, AsrBatch, AsrBatcher
from reference_model.train.data.asr_validation import ValidationSet, word_error_rate
from reference_model.train.data.device_batches import DeviceAsrBatcher
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.skipped_samples import SkippedSamples


class Transcriber(Protocol):
    """A learner that transcribes each clip of a batch."""

    def transcripts(self, batch: AsrBatch) -> list[str]: ...


@dataclass(slots=True, kw_only=True)
class AsrStage:
    """A training stage on transcribed speech.

    `about`: the configurations kept in the checkpoint; `encoder_lr`: learning rate of the pretrained encoder, relative to
    that of the other parts.
    """

    module: Transcriber
    batcher: AsrBatcher | DeviceAsrBatcher
    valid: Sequence[ValidationSet]
    about: Mapping[str, Any]
    encoder_lr: float = 1.0

    @property
    def faults(self) -> SkippedSamples:
        return self.batcher.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        lengths = [entry.seconds + AROUND_S for entry in self.batcher.corpus.entries]
        return BatchSampler(lengths, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        return self.batcher.load(indices, epoch)

    def config(self) -> dict[str, Any]:
        return dict(self.about)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the WER of each validation set by the learner's own decoding."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}
