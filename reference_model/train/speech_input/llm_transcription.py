"""Input stage 2, adapter training through the frozen LLM (paper, speech input): transcript cross-entropy.

The conversation has the layout of live inference (`chat_layout.TurnLayout`): an instruction, a user turn of prompt and audio
embeddings, and the transcript as the reply. The loss is the cross-entropy of the transcript's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.speech_input.adapter import Adapter
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.train.data.asr_batches import AsrBatch
from reference_model.train.engine.trainer import LoopConfig
from reference_model.train.llm.frozen_llm import FrozenLLM, pad_embeddings
from reference_model.train.speech_input.asr_stage import AsrStage

INSTRUCTION = "Write down what the user says, word for word."
SPARE = 8  # tokens that a transcript may have beyond the number of audio embeddings


class TranscriptionLearner(nn.Module):
    """Encoder, adapter and prompt embeddings [P, D]; the frozen LLM is not a submodule."""

    def __init__(self, encoder: SpeechEncoder, adapter: Adapter, prompt: Tensor, frozen: FrozenLLM) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder, self.adapter, self.prompt = encoder, adapter, nn.Parameter(prompt)
        self._frozen = frozen
        self._layout = TurnLayout.of(frozen.backbone.chat, INSTRUCTION)
        self._initial_context: LLMContext | None = None

    @property
    def spacing(self) -> int:
        """Feature frames per audio embedding."""
        return self.encoder.chunk // self.encoder.config.chunk * self.adapter.config.stride

    def forward(self, batch: AsrBatch) -> dict[str, Tensor]:
        """Returns the losses of a batch, summed over the tokens of its transcripts including the end tokens."""
        texts = [self._frozen.backbone.encode(text) for text in batch.texts]
        targets = torch.tensor([token for ids in texts for token in [*ids, self._layout.user_open[0]]])
        rows = [self._turn(audio_rows, ids) for audio_rows, ids in zip(self.rows(batch), texts, strict=True)]
        hidden = self._frozen.hidden(pad_embeddings(rows)[0])
        target_states = [
            state[len(one) - len(ids) - 1 : len(one)] for state, one, ids in zip(hidden, rows, texts, strict=True)
        ]
        logits, targets = self._frozen.logits(torch.cat(target_states)), targets.to(hidden.device)
        loss = functional.cross_entropy(logits, targets, reduction="sum")
        correct = (logits.argmax(-1) == targets).sum().float()
        return {"loss": loss, "right": correct, "count": torch.tensor(float(len(targets)), device=loss.device)}

    def rows(self, batch: AsrBatch) -> list[Tensor]:
        """Returns the audio embeddings [n, D] of each clip."""
        lengths = (batch.lengths // self.spacing).tolist()
        batch, config = batch.to_device(self.encoder.device), self.encoder.config
        attention = batch.attention or (config.chunk, config.left_chunks)
        rows, _ = self.adapter(*self.encoder(batch.features, batch.lengths, *attention))
        return [one[:length].float() for one, length in zip(rows, lengths, strict=True)]

    def _turn(self, audio_rows: Tensor, reply: Sequence[int]) -> Tensor:
        """Returns the conversation [T, D] up to the last token of the reply, whose next token is the end of turn."""
        layout, embed = self._layout, self._frozen.embed
        after = embed([*layout.reply_open, *reply])
        return torch.cat([embed(layout.opening), self.prompt.to(after), audio_rows.to(after), after])

    # ---- inference -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def transcripts(self, batch: AsrBatch) -> list[str]:
        """Transcribes each clip by greedy decoding of the LLM."""
        return [self.transcript(rows) for rows in self.rows(batch)]

    @torch.no_grad()
    def transcript(self, rows: Tensor) -> str:
        """Transcribes audio embeddings [n, D] with the step-by-step decoding of live inference."""
        backbone = self._frozen.backbone
        if self._initial_context is None:
            self._initial_context = LLMContext(backbone, self._layout)
        context, detokenizer, text = self._initial_context.fork(), backbone.detokenizer(), ""
        context.open(Role.USER, torch.cat([self.prompt.to(rows), rows])[None])
        _, logits = context.open(Role.REPLY, context.embed(()))
        for _ in range(len(rows) + SPARE):
            token = int(logits[0, -1].argmax())
            if token in backbone.end_ids:
                break
            text += detokenizer.push(token)
            _, logits = context.extend(context.embed([token]))
        return text + detokenizer.flush()


@dataclass(slots=True, kw_only=True)
class TranscriptionStage(AsrStage):
    """Training stage of a transcription learner."""

    module: TranscriptionLearner
    name: str = "input-2"

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        module = self.module
        encoder = {"params": list(module.encoder.parameters()), "lr": loop.lr * self.encoder_lr}
        return [encoder, {"params": [*module.adapter.parameters(), module.prompt], "lr": loop.lr}]
