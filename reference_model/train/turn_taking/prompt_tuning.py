"""The paper's input stage 3: prompt embeddings learn to make spoken questions understood, and the state head learns beside them.

The LLM is given a spoken turn, then the reply that it gave to the same question in writing, and is to find that reply likely: by
cross-entropy (paper), or, with `distil`, by staying near the very distribution that it had over each token of it in writing.
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
from reference_model.train.llm.frozen_llm import FrozenLLM, padded
from reference_model.train.turn_taking import head_metrics
from reference_model.train.turn_taking.head_features import HeadFeatureExtractor
from reference_model.train.turn_taking.head_training import judged, summary, verdicts_of
from reference_model.train.turn_taking.vad_turns import VadTurn, VadTurnDataset
from reference_model.turn_taking.state_head import TurnState

LATER = 3  # chunks after the turn's end within which the reply begins
TURN_S = 6.0  # that a situation lasts, about


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn, and the tokens of the reply to it, the end of turn included; none where no reply is known or wanted."""

    turn: VadTurn
    reply: tuple[int, ...] = ()


class PromptTuningLearner(nn.Module):
    """`prompt` and `state_head` learn; encoder, adapter and LLM are frozen, and no part of it.

    Of an adapter that spells only the prompt learns: a turn is given to the LLM as it is read once it is over, and not chunk by
    chunk. What the head has to judge by depends on the prompt; it learns after it.
    """

    def __init__(self, model: FreezeOmni, frozen: FrozenLLM, distil: bool = False, state_weight: float = 1.0) -> None:
        super().__init__()
        self.prompt, self.state_head = model.prompt, model.state_head
        self.distil, self.state_weight = distil, state_weight
        self._apart = [
            HeadFeatureExtractor(model.requires_grad_(False), frozen)
        ]  # in a list, so that it is no part of this module
        self.prompt.requires_grad_(True)
        self.state_head.requires_grad_(self.observer.flows)

    @property
    def observer(self) -> HeadFeatureExtractor:
        return self._apart[0]

    @property
    def compares(self) -> bool:
        """Whether what the LLM makes of the question in writing is needed: to learn from, or to be judged by."""
        return self.distil or not self.training

    def forward(self, batch: Sequence[Exchange], prompted: bool = True) -> dict[str, Tensor]:
        """Sums over exchanges: of the mean loss a reply token, and of the mean loss a labelled chunk."""
        observer, frozen, prompt = self.observer, self.observer.frozen, self.prompt if prompted else self.prompt[:0]
        with torch.no_grad():
            heard = observer.given([one.turn for one in batch])
        before = frozen.embed(observer.layout.opening)
        rows = [
            torch.cat([before, prompt.to(before), part.to(before), frozen.embed(self._after(one))])
            for one, part in zip(batch, heard, strict=True)
        ]
        hidden = frozen.hidden(padded(rows)[0])
        begin = len(before) + len(prompt)
        sums = {name: hidden.new_zeros(()) for name in ("state", "reply", *(["kl"] if self.compares else []))}
        for one, part, states in zip(batch, heard, hidden, strict=True):
            if observer.flows:
                self._judge(one.turn, states[begin : begin + len(part)], sums)
            self._answer(one, states[begin + len(part) + len(observer.layout.reply_open) - 1 :], sums)
        loss = sums["kl" if self.distil else "reply"] + self.state_weight * sums["state"] + 0.0 * self.prompt.sum()
        return {"loss": loss, "count": hidden.new_tensor(float(len(batch))), **sums}

    def _after(self, one: Exchange) -> list[int]:
        """What follows the turn: the reply but for its last token, which nothing follows."""
        return [*self.observer.layout.reply_open, *one.reply[:-1]] if one.reply else []

    def _judge(self, turn: VadTurn, states: Tensor, sums: dict[str, Tensor]) -> None:
        """The state head's loss; `states` [n, D] of the turn's rows."""
        size = len(states) // len(turn.since)
        labels = turn.labels.to(states.device)
        found = judged(self.state_head(states[size - 1 :: size]), labels)
        sums["state"] = sums["state"] + found["loss"] / found["count"].clamp(min=1)

    def _answer(self, one: Exchange, states: Tensor, sums: dict[str, Tensor]) -> None:
        """The reply's loss; `states` [>= n, D] are those that its n tokens follow on."""
        if not one.reply:
            return
        frozen = self.observer.frozen
        log_p = frozen.logits(states[: len(one.reply)]).log_softmax(-1)
        target = torch.tensor(one.reply, device=log_p.device)
        sums["reply"] = sums["reply"] + functional.nll_loss(log_p, target)
        if self.compares:
            written = self.in_writing(one)
            sums["kl"] = sums["kl"] + functional.kl_div(log_p, written, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def in_writing(self, one: Exchange) -> Tensor:
        """The LLM's log-probabilities [n, V] for the reply's tokens after the same question in writing."""
        frozen, prompt = self.observer.frozen, self.observer.model.config.settings.system_prompt
        system: list[Message] = [{"role": "system", "content": prompt}] if prompt else []
        ids = frozen.backbone.chat([*system, {"role": "user", "content": one.turn.text}])
        hidden = frozen.hidden(frozen.embed([*ids, *one.reply[:-1]])[None])[0]
        return frozen.logits(hidden[len(ids) - 1 :]).log_softmax(-1)


@dataclass(slots=True)
class PromptTuningStage:
    """`count` situations an epoch, other ones in each. `replies`: by the text of the question."""

    module: PromptTuningLearner
    openings: VadTurnDataset
    valid: Sequence[VadTurn]
    replies: Mapping[str, str]
    count: int
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "input-3"

    @property
    def faults(self) -> SkippedSamples:
        return self.openings.pools.corpus.faults

    def batches(self, loop: LoopConfig) -> BatchSampler:
        return BatchSampler([TURN_S] * self.count, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> list[Exchange]:
        return [
            self._exchange(self.openings[epoch * self.count + index], epoch * self.count + index) for index in indices
        ]

    def _exchange(self, turn: VadTurn, number: int) -> Exchange:
        """The reply begins some chunks after the turn's end: later than that is silence that nobody waits for."""
        reply = self._reply(turn.text) if turn.text in self.replies else ()
        ended = (turn.labels == int(TurnState.ANSWER)).nonzero()[:, 0].tolist()
        if reply and ended:
            turn = turn.until(ended[0] + 1 + int(np.random.default_rng(number).integers(LATER)))
        return Exchange(turn, reply if ended else ())

    def _reply(self, text: str) -> tuple[int, ...]:
        observer = self.module.observer
        ids = observer.frozen.backbone.encode(self.replies[text])
        whole = len(ids) < observer.model.config.settings.max_tokens  # else it was cut, and never ended
        return (*ids, *observer.layout.user_open[: int(whole)])

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": [one for one in self.module.parameters() if one.requires_grad], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The head's figures; of a reply token by ear its loss and how far it is from the one in writing, both also without the
        prompt; and the loss of that in writing."""
        observer = HeadFeatureExtractor(
            self.module.observer.model, self.module.observer.frozen
        )  # of the prompt as it is now
        if not observer.flows:
            return self._by_ear()
        found = verdicts_of(self.module.state_head, observer.impressions(self.valid))
        return {**summary(head_metrics.report(found)), **self._by_ear()}

    def _by_ear(self) -> dict[str, float]:
        exchanges = [one for n, turn in enumerate(self.valid) if (one := self._exchange(turn, n)).reply]
        if not exchanges:
            return {}
        self.module.eval()
        heard, bare = ([self.module([one], prompted) for one in exchanges] for prompted in (True, False))
        written = [
            float(functional.nll_loss(self.module.in_writing(one).cpu(), torch.tensor(one.reply))) for one in exchanges
        ]
        means = {
            f"{name}{without}": float(np.mean([float(one[key]) for one in found]))
            for name, key in (("reply", "reply"), ("reply_kl", "kl"))
            for without, found in (("", heard), ("_without", bare))
        }
        return {**means, "reply_in_writing": float(np.mean(written))}
