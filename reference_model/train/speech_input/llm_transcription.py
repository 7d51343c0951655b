"""Input stage 2: encoder, adapter and prompt learn through the frozen LLM, which is to write down what is said (paper: speech input).

The conversation is that of live use (`turns.TurnLayout`): an instruction, a user turn of prompt and rows, and as its reply the
transcript, whose tokens' cross-entropy is the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.speech_input.adapter import Adapter
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.train.data.asr_batches import AROUND_S, AsrBatch, AsrBatcher
from reference_model.train.data.asr_validation import Named, word_error_rate
from reference_model.train.data.device_batches import DeviceAsrBatcher
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig
from reference_model.train.llm.frozen_llm import FrozenLLM, padded

INSTRUCTION = "Write down what the user says, word for word."
SPARE = 8  # tokens that a transcript may have more than there are rows


class TranscriptionLearner(nn.Module):
    """Encoder, adapter and prompt [P, D]; the LLM is no part of it."""

    def __init__(self, encoder: SpeechEncoder, adapter: Adapter, prompt: Tensor, frozen: FrozenLLM) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder, self.adapter, self.prompt = encoder, adapter, nn.Parameter(prompt)
        self._frozen = frozen
        self._layout = TurnLayout.of(frozen.backbone.chat, INSTRUCTION)
        self._beginning: LLMContext | None = None

    @property
    def spacing(self) -> int:
        """Feature frames a row."""
        return self.encoder.chunk // self.encoder.config.chunk * self.adapter.config.stride

    def forward(self, batch: AsrBatch) -> dict[str, Tensor]:
        """Sums over the tokens of a batch's transcripts, their ends included."""
        texts = [self._frozen.backbone.encode(text) for text in batch.texts]
        wanted = torch.tensor([token for ids in texts for token in [*ids, self._layout.user_open[0]]])
        rows = [self._turn(heard, ids) for heard, ids in zip(self.rows(batch), texts, strict=True)]
        hidden = self._frozen.hidden(padded(rows)[0])
        told = [state[len(one) - len(ids) - 1 : len(one)] for state, one, ids in zip(hidden, rows, texts, strict=True)]
        logits, wanted = self._frozen.logits(torch.cat(told)), wanted.to(hidden.device)
        loss = functional.cross_entropy(logits, wanted, reduction="sum")
        right = (logits.argmax(-1) == wanted).sum().float()
        return {"loss": loss, "right": right, "count": torch.tensor(float(len(wanted)), device=loss.device)}

    def rows(self, batch: AsrBatch) -> list[Tensor]:
        """What the LLM is given of each clip [n, D]."""
        lengths = (batch.lengths // self.spacing).tolist()
        batch, config = batch.on(self.encoder.device), self.encoder.config
        seen = batch.seen or (config.chunk, config.left_chunks)
        rows, _ = self.adapter(*self.encoder(batch.features, batch.lengths, *seen))
        return [one[:length].float() for one, length in zip(rows, lengths, strict=True)]

    def _turn(self, heard: Tensor, reply: Sequence[int]) -> Tensor:
        """A conversation [T, D] up to the last token of the reply; it ends where the reply's end is to be said."""
        layout, embed = self._layout, self._frozen.embed
        after = embed([*layout.reply_open, *reply])
        return torch.cat([embed(layout.opening), self.prompt.to(after), heard.to(after), after])

    # ---- as it is used -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def transcripts(self, batch: AsrBatch) -> list[str]:
        """What the LLM writes down of each clip, greedily."""
        return [self.transcript(rows) for rows in self.rows(batch)]

    @torch.no_grad()
    def transcript(self, rows: Tensor) -> str:
        """What the LLM writes down of a clip's rows [n, D], by the steps of live use."""
        backbone = self._frozen.backbone
        if self._beginning is None:
            self._beginning = LLMContext(backbone, self._layout)
        context, pieces, text = self._beginning.fork(), backbone.pieces(), ""
        context.open(Role.USER, torch.cat([self.prompt.to(rows), rows])[None])
        _, logits = context.open(Role.REPLY, context.embed(()))
        for _ in range(len(rows) + SPARE):
            token = int(logits[0, -1].argmax())
            if token in backbone.end_ids:
                break
            text += pieces.add(token)
            _, logits = context.extend(context.embed([token]))
        return text + pieces.rest()


@dataclass(slots=True)
class TranscriptionStage:
    """See the module."""

    module: TranscriptionLearner
    listening: AsrBatcher | DeviceAsrBatcher
    valid: Sequence[Named]
    about: Mapping[str, Any]
    encoder_lr: float = 1.0  # times the rate of the rest
    name: str = "input-2"

    @property
    def faults(self) -> SkippedSamples:
        return self.listening.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        lengths = [entry.seconds + AROUND_S for entry in self.listening.corpus.entries]
        return BatchSampler(lengths, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        return self.listening.load(indices, epoch)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        module = self.module
        encoder = {"params": list(module.encoder.parameters()), "lr": loop.lr * self.encoder_lr}
        return [encoder, {"params": [*module.adapter.parameters(), module.prompt], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return dict(self.about)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Word error rate of each validation set, greedy, after Whisper's normaliser."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}
