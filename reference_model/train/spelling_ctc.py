"""Input stage 1: the encoder and the units' head learn by CTC; the encoder also stays near what full-context Whisper hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.text import normalise
from reference_model.encoder import SpeechEncoder
from reference_model.spelling import SpellingAdapter
from reference_model.train.batches import Batches
from reference_model.train.engine import Loop, to_device
from reference_model.train.hearing import Heard, Listening
from reference_model.units import BLANK, collapsed
from reference_model.whisper_encoder import WhisperStreamingEncoder

LATE = 10.0  # feature frames that a unit is expected after its middle


class SpellingLearner(nn.Module):
    """Encoder and adapter as they will be used; `near` and the teacher are there for training only."""

    def __init__(
        self, encoder: SpeechEncoder, adapter: SpellingAdapter, teacher: WhisperStreamingEncoder | None
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder, self.adapter = encoder, adapter
        self.near = nn.Linear(encoder.size, teacher.size) if teacher else None
        self._teacher = [teacher] if teacher else []  # in a list, so that it is no part of this module

    dropout = 0.1  # of BPE merges
    nearness = 1.0  # weight of staying near the teacher
    evenness = (
        0.0  # weight of units evenly spread over the speech: a first idea of when, which CTC alone is slow to find
    )

    def forward(self, batch: Heard) -> dict[str, Tensor]:
        frames, mask = self.frames(batch)
        logits, _, valid = self.adapter(frames, mask)
        sums = {"ctc": self._ctc(logits, valid.sum(1), batch.texts)}
        if self._teacher:
            sums["near"] = self._nearness(batch, frames, mask)
        if self.evenness:
            sums["even"] = self._evenness(logits, batch)
        total = sums["ctc"] + self.nearness * sums.get("near", 0.0) + self.evenness * sums.get("even", 0.0)
        return {"loss": total, "count": torch.tensor(float(len(batch.texts)), device=logits.device), **sums}

    def frames(self, batch: Heard) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the features, chunk by chunk: (frames [B, T, D], mask [B, T])."""
        config = self.encoder.config
        lengths = to_device(batch.lengths, self)
        frames: tuple[Tensor, Tensor] = self.encoder(
            to_device(batch.features, self), lengths, config.chunk, config.left_chunks
        )
        return frames

    def _ctc(self, logits: Tensor, lengths: Tensor, texts: Sequence[str]) -> Tensor:
        """Sum over utterances of the loss a unit."""
        targets = [self.adapter.units.encode(text, self.dropout if self.training else 0.0) for text in texts]
        sizes = torch.tensor([len(target) for target in targets])
        log_p = logits.float().log_softmax(-1).transpose(0, 1)
        flat = torch.tensor([unit for target in targets for unit in target])
        losses = functional.ctc_loss(log_p, flat, lengths.cpu(), sizes, BLANK, "none", zero_infinity=True)
        return (losses / sizes.clamp(min=1).to(losses)).sum()

    def _evenness(self, logits: Tensor, batch: Heard) -> Tensor:
        """Sum over utterances of the mean cross-entropy of units placed by the number of letters before them."""
        log_p = logits.float().log_softmax(-1)
        rate = batch.features.shape[1] / logits.shape[1]  # feature frames an output
        total = log_p.new_zeros(())
        for row, (text, (begin, end)) in enumerate(zip(batch.texts, batch.spans.tolist(), strict=True)):
            units = self.adapter.units.encode(text)
            letters = torch.tensor([float(len(self.adapter.units.pieces[unit])) for unit in units])
            places = (letters.cumsum(0) - letters / 2) / letters.sum() * (end - begin) + begin
            outputs = ((places + LATE) / rate).long().clamp(max=logits.shape[1] - 1)
            total = total - log_p[row, outputs.to(logits.device), torch.tensor(units, device=logits.device)].mean()
        return total

    def _nearness(self, batch: Heard, frames: Tensor, mask: Tensor) -> Tensor:
        """Sum over utterances of the mean squared distance to the teacher's frames, in units of their variance."""
        assert self.near is not None
        teacher = self._teacher[0].to(frames.device)
        with torch.no_grad():
            wanted, _ = teacher(to_device(batch.clean, self), to_device(batch.lengths, self))
            wanted = wanted.float()
            spread = wanted[mask].var(0).mean()
        distance = ((self.near(frames).float() - wanted) ** 2).mean(-1) / spread  # [B, T]
        return ((distance * mask).sum(1) / mask.sum(1)).sum()


@dataclass(slots=True)
class SpellingStage:
    """See the module."""

    module: SpellingLearner
    listening: Listening
    valid: Sequence[tuple[str, Sequence[Heard]]]  # (name, batches)
    about: Mapping[str, Any]
    encoder_lr: float = 0.5  # times the rate of what starts afresh
    name: str = "input-1"

    def batches(self, loop: Loop) -> Batches:
        lengths = [entry.seconds + 0.9 for entry in self.listening.corpus.entries]
        return Batches(lengths, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> Heard:
        return self.listening.load(indices, epoch)

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        warm = list(self.module.encoder.parameters())
        known = {id(p) for p in warm}
        fresh = [p for p in self.module.parameters() if id(p) not in known]
        return [{"params": warm, "lr": loop.lr * self.encoder_lr}, {"params": fresh, "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return dict(self.about)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Word error rate of each validation set, greedy, after Whisper's normaliser."""
        return {f"wer_{name}": word_error_rate(self.module, batches) for name, batches in self.valid}


def word_error_rate(module: SpellingLearner, batches: Sequence[Heard]) -> float:
    said: list[str] = []
    heard: list[str] = []
    for batch in batches:
        for text, found in zip(batch.texts, transcripts(module, batch), strict=True):
            if normalise(text):
                said.append(normalise(text))
                heard.append(normalise(found))
    return float(jiwer.wer(said, heard))


@torch.no_grad()
def transcripts(module: SpellingLearner, batch: Heard) -> list[str]:
    """What is heard in each clip, the best unit of every frame."""
    logits, _, valid = module.adapter(*module.frames(batch))
    best = logits.argmax(-1).cpu()
    units = module.adapter.units
    return [units.decode(collapsed(row[: int(n)].tolist())) for row, n in zip(best, valid.sum(1), strict=True)]
