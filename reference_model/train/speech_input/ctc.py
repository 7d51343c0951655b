"""Input stage 1, ASR pretraining: CTC learners of the encoder with a head, and distillation from full-context
Whisper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.speech_input.adapter import Adapter
from reference_model.speech_input.bpe_units import BLANK, collapsed
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_input.whisper_encoder import WhisperStreamingEncoder
from reference_model.train.data.asr_batches import DROPOUT, AsrBatch
from reference_model.train.data.ctc_targets import CTCTargets, CTCVocabulary
from reference_model.train.engine.trainer import LoopConfig
from reference_model.train.speech_input.asr_stage import AsrStage
from reference_model.train.speech_input.llm_space_ctc import LLMTokenVocabulary, TokenSpace

EMISSION_DELAY = 10.0  # feature frames between a token's center and its expected CTC output
DISTILLATION_WEIGHT = 1.0  # weight of the distillation loss
NORM_WEIGHT = 0.1  # weight of the loss on the norm of the adapter's output embeddings


@dataclass(slots=True)
class UniformAlignmentWeight:
    """Weight of the uniform alignment loss, which decays linearly to 0: it speeds up the first steps of CTC
    training."""

    weight: float = 0.0
    steps: int = 1

    def at(self, step: int) -> float:
        return self.weight * max(0.0, 1.0 - step / self.steps)


class CTCLearner(nn.Module, ABC):
    """Encoder and `parts` (head or adapter) under CTC.

    `near`, the projection to the teacher's frames, and the teacher serve training only.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        parts: Mapping[str, nn.Module],
        vocabulary: CTCVocabulary,
        stride: int,
        teacher: WhisperStreamingEncoder | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder = encoder
        for name, part in parts.items():
            self.add_module(name, part)
        self.near = nn.Linear(encoder.size, teacher.size) if teacher else None
        self._teacher = [teacher] if teacher else []  # in a list, so that it is not registered as a submodule
        self.vocabulary, self.stride = vocabulary, stride
        self.alignment_weight = 0.0  # set by the stage before every step

    @property
    def spacing(self) -> int:
        """Feature frames per CTC output."""
        return self.encoder.chunk // self.encoder.config.chunk * self.stride

    @abstractmethod
    def ctc_logits(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes CTC logits of encoder frames [B, T, D] with mask [B, T]: (logits [B, n, U], further losses summed
        over the batch)."""

    def forward(self, batch: AsrBatch) -> dict[str, Tensor]:
        """Returns the losses of a batch, summed over its clips, and the number of clips as "count"."""
        targets = batch.targets or self._targets(batch)
        lengths, sizes = batch.lengths // self.spacing, targets.sizes  # on the CPU, as CTC takes them
        batch, targets = batch.to_device(self.encoder.device), targets.to_device(self.encoder.device)
        frames, mask = self.frames(batch)
        logits, sums = self.ctc_logits(frames, mask)
        log_p = logits.float().log_softmax(-1)
        losses = functional.ctc_loss(log_p.transpose(0, 1), targets.units, lengths, sizes, BLANK, "none", True)
        sums["ctc"] = (losses / targets.sizes.clamp(min=1)).sum()  # per token
        total = sums["ctc"] + NORM_WEIGHT * sums.get("length", 0.0)
        if self._teacher:
            sums["near"] = self._distillation_loss(batch, frames, mask)
            total = total + DISTILLATION_WEIGHT * sums["near"]
        if self.alignment_weight:
            sums["even"] = uniform_alignment_loss(log_p, targets, self.spacing)
            total = total + self.alignment_weight * sums["even"]
        return {"loss": total, "count": torch.tensor(float(len(batch.texts)), device=log_p.device), **sums}

    def frames(self, batch: AsrBatch) -> tuple[Tensor, Tensor]:
        """Encodes the features with chunked attention: (frames [B, T, D], mask [B, T])."""
        config = self.encoder.config
        attention = batch.attention or (config.chunk, config.left_chunks)
        frames: tuple[Tensor, Tensor] = self.encoder(batch.features, batch.lengths, *attention)
        return frames

    @torch.no_grad()
    def transcripts(self, batch: AsrBatch) -> list[str]:
        """Transcribes each clip by greedy CTC decoding."""
        batch = batch.to_device(self.encoder.device)
        logits, _ = self.ctc_logits(*self.frames(batch))
        lengths = (batch.lengths // self.spacing).tolist()
        best = logits.argmax(-1).tolist()
        return [self.vocabulary.decode(collapsed(row[:n])) for row, n in zip(best, lengths, strict=True)]

    def _targets(self, batch: AsrBatch) -> CTCTargets:
        """Makes the targets of a batch that has none."""
        units = [self.vocabulary.encode(text, DROPOUT if self.training else 0.0) for text in batch.texts]
        return CTCTargets.of(units, batch.spans.tolist(), self.vocabulary)

    def _distillation_loss(self, batch: AsrBatch, frames: Tensor, mask: Tensor) -> Tensor:
        """Returns the mean squared error to the teacher's frames over their variance, averaged over frames and summed
        over clips."""
        assert self.near is not None and batch.clean is not None
        teacher = self._teacher[0].to(frames.device)
        with torch.no_grad():
            target, _ = teacher(batch.clean, batch.lengths)
            target = target.float()
            variance = target[mask].var(0).mean()
        distance = ((self.near(frames).float() - target) ** 2).mean(-1) / variance  # [B, T]
        return ((distance * mask).sum(1) / mask.sum(1)).sum()


class CTCAdapterLearner(CTCLearner):
    """CTC learner of the encoder and a CTC adapter, which is the head."""

    adapter: CTCAdapter

    def __init__(
        self, encoder: SpeechEncoder, adapter: CTCAdapter, teacher: WhisperStreamingEncoder | None = None
    ) -> None:
        super().__init__(encoder, {"adapter": adapter}, adapter.units, adapter.config.stride, teacher)

    def ctc_logits(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.adapter(frames, mask)[0], {}


class EncoderLearner(CTCLearner):
    """CTC learner of the encoder alone (paper, input stage 1): the head is discarded after training."""

    head: CTCAdapter

    def __init__(
        self, encoder: SpeechEncoder, head: CTCAdapter, teacher: WhisperStreamingEncoder | None = None
    ) -> None:
        super().__init__(encoder, {"head": head}, head.units, head.config.stride, teacher)

    def ctc_logits(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.head(frames, mask)[0], {}


class LLMSpaceLearner(CTCLearner):
    """CTC learner of the encoder and an embedding adapter in the LLM's embedding space.

    `embeddings` [V, D]: of the tokens.
    """

    adapter: Adapter
    space: TokenSpace

    def __init__(
        self,
        encoder: SpeechEncoder,
        adapter: Adapter,
        tokens: LLMTokenVocabulary,
        embeddings: Tensor,
        teacher: WhisperStreamingEncoder | None = None,
    ) -> None:
        parts = {"adapter": adapter, "space": TokenSpace(adapter.config.llm_size)}
        super().__init__(encoder, parts, tokens, adapter.config.stride, teacher)
        self._embeddings = [embeddings]  # in a list, like the teacher

    def ctc_logits(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rows, valid = self.adapter(frames, mask)
        embeddings = self._embeddings[0] = self._embeddings[0].to(rows.device)
        mean_norm = embeddings.norm(dim=-1).mean()
        norm_error = (rows.float().norm(dim=-1) / mean_norm - 1.0).square()  # [B, n]
        return self.space(rows, embeddings), {"length": ((norm_error * valid).sum(1) / valid.sum(1)).sum()}


def uniform_alignment_loss(log_p: Tensor, targets: CTCTargets, spacing: int) -> Tensor:
    """Returns the mean cross-entropy of tokens at their uniformly aligned outputs, summed over clips.

    `log_p` [B, n, U]: log-probabilities of the tokens, one output every `spacing` feature frames.
    """
    sizes = targets.sizes
    rows = torch.arange(len(sizes), device=sizes.device)
    rows = rows.repeat_interleave(sizes, output_size=len(targets.units))
    outputs = ((targets.positions + EMISSION_DELAY) / spacing).long().clamp(max=log_p.shape[1] - 1)
    return -(log_p[rows, outputs, targets.units] / sizes[rows]).sum()


@dataclass(slots=True, kw_only=True)
class CTCStage(AsrStage):
    """Training stage of a CTC learner."""

    module: CTCLearner
    alignment_weight: UniformAlignmentWeight
    name: str = "input-1"

    def before_step(self, step: int) -> None:
        """Sets the alignment weight; called before every step."""
        self.module.alignment_weight = self.alignment_weight.at(step)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        pretrained = list(self.module.encoder.parameters())
        encoder_ids = {id(p) for p in pretrained}
        new = [p for p in self.module.parameters() if id(p) not in encoder_ids]
        return [{"params": pretrained, "lr": loop.lr * self.encoder_lr}, {"params": new, "lr": loop.lr}]
