"""Input stage 1: the encoder, and what reads its frames, learn by CTC; the encoder also stays near what full-context Whisper hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from reference_model.train.data.asr_batches import AROUND_S, DROPOUT, AsrBatch, AsrBatcher
from reference_model.train.data.asr_validation import Named, word_error_rate
from reference_model.train.data.ctc_targets import CTCTargets, CTCVocabulary
from reference_model.train.data.device_batches import DeviceAsrBatcher
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig
from reference_model.train.speech_input.llm_space_ctc import LLMTokenVocabulary, TokenSpace

LATE = 10.0  # feature frames that a unit is expected after its middle
NEARNESS = 1.0  # weight of staying near the teacher
LENGTH = 0.1  # weight of rows being as long as token embeddings


@dataclass(slots=True)
class UniformAlignmentWeight:
    """Units evenly spread over the speech, a first idea of when, which CTC alone is slow to find: a weight that falls to 0."""

    weight: float = 0.0
    steps: int = 1

    def at(self, step: int) -> float:
        return self.weight * max(0.0, 1.0 - step / self.steps)


class CTCLearner(nn.Module):
    """Encoder and `parts` as they will be used; `near` and the teacher are there for training only."""

    def __init__(
        self,
        encoder: SpeechEncoder,
        parts: Mapping[str, nn.Module],
        writing: CTCVocabulary,
        stride: int,
        teacher: WhisperStreamingEncoder | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder = encoder
        for name, part in parts.items():
            self.add_module(name, part)
        self.near = nn.Linear(encoder.size, teacher.size) if teacher else None
        self._teacher = [teacher] if teacher else []  # in a list, so that it is no part of this module
        self.writing, self.stride = writing, stride
        self.evenness = 0.0  # weight

    @property
    def spacing(self) -> int:
        """Feature frames an output."""
        return self.encoder.chunk // self.encoder.config.chunk * self.stride

    def read(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames [B, T, D], mask [B, T] -> (logits [B, n, U], further losses as sums over the batch)."""
        raise NotImplementedError

    def forward(self, batch: AsrBatch) -> dict[str, Tensor]:
        """Sums over the clips of a batch."""
        targets = batch.targets or self._targets(batch)
        lengths, sizes = batch.lengths // self.spacing, targets.sizes  # where CTC wants them: on the CPU
        batch, targets = batch.on(self.encoder.device), targets.on(self.encoder.device)
        frames, mask = self.frames(batch)
        logits, sums = self.read(frames, mask)
        log_p = logits.float().log_softmax(-1)
        losses = functional.ctc_loss(log_p.transpose(0, 1), targets.units, lengths, sizes, BLANK, "none", True)
        sums["ctc"] = (losses / targets.sizes.clamp(min=1)).sum()  # a unit
        total = sums["ctc"] + LENGTH * sums.get("length", 0.0)
        if self._teacher:
            sums["near"] = self._nearness(batch, frames, mask)
            total = total + NEARNESS * sums["near"]
        if self.evenness:
            sums["even"] = uniform_alignment_loss(log_p, targets, self.spacing)
            total = total + self.evenness * sums["even"]
        return {"loss": total, "count": torch.tensor(float(len(batch.texts)), device=log_p.device), **sums}

    def frames(self, batch: AsrBatch) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the features, chunk by chunk: (frames [B, T, D], mask [B, T])."""
        config = self.encoder.config
        seen = batch.seen or (config.chunk, config.left_chunks)
        frames: tuple[Tensor, Tensor] = self.encoder(batch.features, batch.lengths, *seen)
        return frames

    @torch.no_grad()
    def transcripts(self, batch: AsrBatch) -> list[str]:
        """What is heard in each clip, the best unit of every output."""
        batch = batch.on(self.encoder.device)
        logits, _ = self.read(*self.frames(batch))
        lengths = (batch.lengths // self.spacing).tolist()
        best = logits.argmax(-1).tolist()
        return [self.writing.decode(collapsed(row[:n])) for row, n in zip(best, lengths, strict=True)]

    def _targets(self, batch: AsrBatch) -> CTCTargets:
        """Of a batch that was made without."""
        units = [self.writing.encode(text, DROPOUT if self.training else 0.0) for text in batch.texts]
        return CTCTargets.of(units, batch.spans.tolist(), self.writing)

    def _nearness(self, batch: AsrBatch, frames: Tensor, mask: Tensor) -> Tensor:
        """Sum over utterances of the mean squared distance to the teacher's frames, in units of their variance."""
        assert self.near is not None and batch.clean is not None
        teacher = self._teacher[0].to(frames.device)
        with torch.no_grad():
            wanted, _ = teacher(batch.clean, batch.lengths)
            wanted = wanted.float()
            spread = wanted[mask].var(0).mean()
        distance = ((self.near(frames).float() - wanted) ** 2).mean(-1) / spread  # [B, T]
        return ((distance * mask).sum(1) / mask.sum(1)).sum()


class CTCAdapterLearner(CTCLearner):
    """For an adapter that spells, which is CTC's head itself."""

    adapter: CTCAdapter

    def __init__(
        self, encoder: SpeechEncoder, adapter: CTCAdapter, teacher: WhisperStreamingEncoder | None = None
    ) -> None:
        super().__init__(encoder, {"adapter": adapter}, adapter.units, adapter.config.stride, teacher)

    def read(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.adapter(frames, mask)[0], {}


class EncoderLearner(CTCLearner):
    """For the encoder alone (paper, input stage 1): the head is thrown away."""

    head: CTCAdapter

    def __init__(
        self, encoder: SpeechEncoder, head: CTCAdapter, teacher: WhisperStreamingEncoder | None = None
    ) -> None:
        super().__init__(encoder, {"head": head}, head.units, head.config.stride, teacher)

    def read(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.head(frames, mask)[0], {}


class LLMSpaceLearner(CTCLearner):
    """For an adapter whose outputs are rows, learning in the LLM's embedding space. `embeddings` [V, D]: of its tokens."""

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
        self._embeddings = [embeddings]  # in a list, as the teacher

    def read(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rows, valid = self.adapter(frames, mask)
        embeddings = self._embeddings[0] = self._embeddings[0].to(rows.device)
        usual = embeddings.norm(dim=-1).mean()
        off = (rows.float().norm(dim=-1) / usual - 1.0).square()  # [B, n]
        return self.space(rows, embeddings), {"length": ((off * valid).sum(1) / valid.sum(1)).sum()}


def uniform_alignment_loss(log_p: Tensor, targets: CTCTargets, spacing: int) -> Tensor:
    """Sum over utterances of the mean cross-entropy of units placed by the number of letters before them.

    `log_p` [B, n, U], an output every `spacing` feature frames.
    """
    sizes = targets.sizes
    rows = torch.arange(len(sizes), device=sizes.device)
    rows = rows.repeat_interleave(sizes, output_size=len(targets.units))
    outputs = ((targets.places + LATE) / spacing).long().clamp(max=log_p.shape[1] - 1)
    return -(log_p[rows, outputs, targets.units] / sizes[rows]).sum()


@dataclass(slots=True)
class CTCStage:
    """See the module."""

    module: CTCLearner
    listening: AsrBatcher | DeviceAsrBatcher
    valid: Sequence[Named]
    about: Mapping[str, Any]
    even: UniformAlignmentWeight
    encoder_lr: float = 1.0  # times the rate of what starts afresh
    name: str = "input-1"

    @property
    def faults(self) -> SkippedSamples:
        return self.listening.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        lengths = [entry.seconds + AROUND_S for entry in self.listening.corpus.entries]
        return BatchSampler(lengths, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        return self.listening.load(indices, epoch)

    def at(self, step: int) -> None:
        """Told before every step."""
        self.module.evenness = self.even.at(step)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        warm = list(self.module.encoder.parameters())
        known = {id(p) for p in warm}
        fresh = [p for p in self.module.parameters() if id(p) not in known]
        return [{"params": warm, "lr": loop.lr * self.encoder_lr}, {"params": fresh, "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return dict(self.about)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Word error rate of each validation set, greedy, after Whisper's normaliser."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}
