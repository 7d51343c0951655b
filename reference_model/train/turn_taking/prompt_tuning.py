"""Input stage 3 of the paper: trains prompt embeddings and, jointly, the state head through the frozen LLM.

The LLM gets a spoken turn and then its own reply to the same question as text. The loss is the cross-entropy of that reply (paper)
or, with `distil`, the KL divergence to the LLM's token distribution after the text question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.api.types import Message
from reference_model.model import FreezeOmni
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM, pad_embeddings
from reference_model.train.turn_taking import head_metrics
from reference_model.train.turn_taking.head_features import HeadFeatureExtractor
from reference_model.train.turn_taking.head_training import decisions_of, state_loss, summary
from reference_model.train.turn_taking.vad_turns import VadTurn, VadTurnDataset
from reference_model.turn_taking import head_inputs
from reference_model.turn_taking.head_inputs import HeadPart
from reference_model.turn_taking.state_head import TurnState

MAX_REPLY_DELAY = 3  # chunks between the end of a turn and its reply, at most
TURN_S = 6.0  # approximate duration of an example, s


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn, and the tokens of its reply including the end of turn; empty where there is no reply."""

    turn: VadTurn
    reply: tuple[int, ...] = ()


class PromptTuningLearner(nn.Module):
    """Trains `prompt` and `state_head`; encoder, adapter and LLM are frozen, and not submodules.

    For a model with a CTC adapter only the prompt is trained here: the LLM gets the text of the complete turn, not of its chunks. The
    state head, whose inputs depend on the prompt, is trained afterwards.
    """

    def __init__(self, model: FreezeOmni, frozen: FrozenLLM, distil: bool = False, state_weight: float = 1.0) -> None:
        super().__init__()
        self.prompt, self.state_head = model.prompt, model.state_head
        self.distil, self.state_weight = distil, state_weight
        self._frozen_parts = [
            HeadFeatureExtractor(model.requires_grad_(False), frozen)
        ]  # in a list, so that it is not registered as a submodule
        self.prompt.requires_grad_(True)
        self.state_head.requires_grad_(self.extractor.streams_embeddings)

    @property
    def extractor(self) -> HeadFeatureExtractor:
        return self._frozen_parts[0]

    @property
    def needs_text_distribution(self) -> bool:
        """Whether the LLM's distribution after the text question is needed: for the loss, or for validation."""
        return self.distil or not self.training

    def forward(self, batch: Sequence[Exchange], use_prompt: bool = True) -> dict[str, Tensor]:
        """Returns the losses summed over exchanges: mean per reply token, and mean per labeled chunk."""
        extractor, frozen, prompt = (
            self.extractor,
            self.extractor.frozen,
            self.prompt if use_prompt else self.prompt[:0],
        )
        with torch.no_grad():
            audio = extractor.llm_inputs([one.turn for one in batch])
        before = frozen.embed(extractor.layout.opening)
        rows = [
            torch.cat([before, prompt.to(before), embeddings.to(before), frozen.embed(self._reply_input(one))])
            for one, embeddings in zip(batch, audio, strict=True)
        ]
        hidden = frozen.hidden(pad_embeddings(rows)[0])
        begin = len(before) + len(prompt)
        sums = {
            name: hidden.new_zeros(()) for name in ("state", "reply", *(["kl"] if self.needs_text_distribution else []))
        }
        for one, embeddings, states in zip(batch, audio, hidden, strict=True):
            if extractor.streams_embeddings:
                self._add_state_loss(one.turn, states[begin : begin + len(embeddings)], sums)
            self._add_reply_loss(one, states[begin + len(embeddings) + len(extractor.layout.reply_open) - 1 :], sums)
        loss = sums["kl" if self.distil else "reply"] + self.state_weight * sums["state"] + 0.0 * self.prompt.sum()
        return {"loss": loss, "count": hidden.new_tensor(float(len(batch))), **sums}

    def _reply_input(self, one: Exchange) -> list[int]:
        """Returns the input tokens after the turn: the reply without its last token."""
        return [*self.extractor.layout.reply_open, *one.reply[:-1]] if one.reply else []

    def _add_state_loss(self, turn: VadTurn, states: Tensor, sums: dict[str, Tensor]) -> None:
        """Adds the state head's loss; `states` [n, D]: hidden states at the turn's audio embeddings."""
        size, extractor = len(states) // len(turn.since), self.extractor
        labels, states = turn.labels.to(states.device), states[size - 1 :: size]
        parts: dict[HeadPart, Tensor] = {"hidden": states, "evidence": states[:, :0]}  # such an adapter has no evidence
        if "language" in (chosen := extractor.model.config.state_inputs):
            end_ids = extractor.frozen.backbone.end_ids
            parts["language"] = head_inputs.language_numbers(extractor.frozen.logits(states), end_ids)
        losses = state_loss(self.state_head(torch.cat([parts[part] for part in chosen], -1)), labels)
        sums["state"] = sums["state"] + losses["loss"] / losses["count"].clamp(min=1)

    def _add_reply_loss(self, one: Exchange, states: Tensor, sums: dict[str, Tensor]) -> None:
        """Adds the loss of the reply's n tokens; `states` [>= n, D]: the hidden states that predict them."""
        if not one.reply:
            return
        frozen = self.extractor.frozen
        log_p = frozen.logits(states[: len(one.reply)]).log_softmax(-1)
        target = torch.tensor(one.reply, device=log_p.device)
        sums["reply"] = sums["reply"] + functional.nll_loss(log_p, target)
        if self.needs_text_distribution:
            text_log_p = self.text_log_probs(one)
            sums["kl"] = sums["kl"] + functional.kl_div(log_p, text_log_p, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def text_log_probs(self, one: Exchange) -> Tensor:
        """Returns the LLM's log-probabilities [n, V] of the reply's tokens after the question as text."""
        frozen, prompt = self.extractor.frozen, self.extractor.model.config.settings.system_prompt
        system: list[Message] = [{"role": "system", "content": prompt}] if prompt else []
        ids = frozen.backbone.chat([*system, {"role": "user", "content": one.turn.text}])
        hidden = frozen.hidden(frozen.embed([*ids, *one.reply[:-1]])[None])[0]
        return frozen.logits(hidden[len(ids) - 1 :]).log_softmax(-1)


@dataclass(slots=True)
class PromptTuningStage:
    """Training stage of prompt tuning: `count` examples per epoch, new ones in each. `replies`: by question text."""

    module: PromptTuningLearner
    dataset: VadTurnDataset
    valid: Sequence[VadTurn]
    replies: Mapping[str, str]
    count: int
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "input-3"

    @property
    def faults(self) -> SkippedSamples:
        return self.dataset.pools.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        return BatchSampler([TURN_S] * self.count, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> list[Exchange]:
        return [
            self._exchange(self.dataset[epoch * self.count + index], epoch * self.count + index) for index in indices
        ]

    def _exchange(self, turn: VadTurn, number: int) -> Exchange:
        """Makes an exchange; the turn is cut a few chunks after its end, where the reply begins."""
        reply = self._reply(turn.text) if turn.text in self.replies else ()
        answer_chunks = (turn.labels == int(TurnState.ANSWER)).nonzero()[:, 0].tolist()
        if reply and answer_chunks:
            turn = turn.first_chunks(
                answer_chunks[0] + 1 + int(np.random.default_rng(number).integers(MAX_REPLY_DELAY))
            )
        return Exchange(turn, reply if answer_chunks else ())

    def _reply(self, text: str) -> tuple[int, ...]:
        extractor = self.module.extractor
        ids = extractor.frozen.backbone.encode(self.replies[text])
        is_complete = len(ids) < extractor.model.config.settings.max_tokens  # else the reply was cut at the token limit
        return (*ids, *extractor.layout.user_open[: int(is_complete)])

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": [one for one in self.module.parameters() if one.requires_grad], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the head's metrics; loss and KL divergence of a reply token after speech, with and without the prompt; and the
        loss after the text question."""
        extractor = HeadFeatureExtractor(
            self.module.extractor.model, self.module.extractor.frozen
        )  # with the current prompt
        if not extractor.streams_embeddings:
            return self._reply_metrics()
        found = decisions_of(self.module.state_head, extractor.extract(self.valid))
        return {**summary(head_metrics.report(found)), **self._reply_metrics()}

    def _reply_metrics(self) -> dict[str, float]:
        exchanges = [one for n, turn in enumerate(self.valid) if (one := self._exchange(turn, n)).reply]
        if not exchanges:
            return {}
        self.module.eval()
        audio, without_prompt = ([self.module([one], use_prompt) for one in exchanges] for use_prompt in (True, False))
        text_log_p = [
            float(functional.nll_loss(self.module.text_log_probs(one).cpu(), torch.tensor(one.reply)))
            for one in exchanges
        ]
        means = {
            f"{name}{without}": float(np.mean([float(one[key]) for one in found]))
            for name, key in (("reply", "reply"), ("reply_kl", "kl"))
            for without, found in (("", audio), ("_without", without_prompt))
        }
        return {**means, "reply_in_writing": float(np.mean(text_log_p))}
