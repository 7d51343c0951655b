"""Training of the state head on cached inputs: cross-entropy of the turn state at every labeled chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.trainer import to_device
from reference_model.train.turn_taking import head_metrics
from reference_model.train.turn_taking.head_features import HeadFeatures
from reference_model.train.turn_taking.head_metrics import HeadDecision
from reference_model.train.turn_taking.vad_turns import UNLABELLED
from reference_model.turn_taking.state_head import StateHead

DECIDING = (1.0, 1.0, 0.0)  # weights of the classes beside "keep listening"; class 3 is padding


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """Inputs of the state head [B, N, D + E] with labels [B, N], `UNLABELLED` in the padding."""

    vectors: Tensor
    labels: Tensor


class StateHeadLearner(nn.Module):
    """The state head. The `prompt` that its inputs were computed with is frozen, and kept in the checkpoint.

    `listen_weight`: as in `state_loss`.
    """

    def __init__(self, head: StateHead, prompt: Tensor | None = None, listen_weight: float = 1.0) -> None:
        super().__init__()
        self.state_head, self.listen_weight = head, listen_weight
        self.prompt = nn.Parameter(prompt.detach(), requires_grad=False) if prompt is not None and len(prompt) else None

    def forward(self, batch: HeadBatch) -> dict[str, Tensor]:
        vectors, labels = to_device(batch.vectors, self).float(), to_device(batch.labels, self)
        return state_loss(self.state_head(vectors), labels, self.listen_weight)


def state_loss(logits: Tensor, labels: Tensor, listen_weight: float = 1.0) -> dict[str, Tensor]:
    """Returns the weighted cross-entropy of logits [..., 4] summed over labeled chunks, their count, and the number of
    correct ones. `listen_weight`: of the class "keep listening"; above 1, the head decides later, and less often in a pause."""
    weights = torch.tensor([listen_weight, *DECIDING], device=logits.device)
    loss = functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), weights, ignore_index=UNLABELLED, reduction="sum"
    )
    correct = ((logits[..., :3].argmax(-1) == labels) & (labels >= 0)).sum().float()
    return {"loss": loss, "right": correct, "count": (labels >= 0).sum().float()}


@torch.no_grad()
def decisions_of(head: StateHead, features: Sequence[HeadFeatures]) -> list[HeadDecision]:
    """Returns the head's decision on every turn, as it is in use: without dropout."""
    device, training = next(head.parameters()).device, head.training
    head.eval()
    found = [
        HeadDecision.of(one.kind, one.state, head.probabilities(one.vectors.to(device).float()).cpu(), one.since)
        for one in features
    ]
    head.train(training)
    return found


@dataclass(slots=True)
class StateHeadStage:
    """Training stage of the state head on cached inputs."""

    module: StateHeadLearner
    train: Sequence[HeadFeatures]
    valid: Sequence[HeadFeatures]
    chunk_s: float
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "input-3"

    def batches(self, loop: LoopConfig) -> BatchSampler:
        return BatchSampler(
            [len(one.labels) * self.chunk_s for one in self.train], loop.batch_s, loop.batch_most, loop.seed
        )

    def load(self, indices: Sequence[int], epoch: int) -> HeadBatch:
        pad, selected = nn.utils.rnn.pad_sequence, [self.train[i] for i in indices]
        labels = pad([one.labels for one in selected], batch_first=True, padding_value=UNLABELLED)
        return HeadBatch(pad([one.vectors for one in selected], batch_first=True), labels)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.state_head.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns macro F1 of the decisions, median delay of correct answers (ms), and the share of takeovers in
        pauses."""
        return summary(head_metrics.report(decisions_of(self.module.state_head, self.valid)))


def summary(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of a report that the training log keeps."""
    median_delay, pause_takeovers = report["answer_delay_ms"]["p50"], report["takeovers_in_pauses"]["share"]
    nan = float("nan")
    return {
        "f1": report["macro_f1"],
        "delay_ms": nan if median_delay is None else median_delay,
        "takeovers_in_pauses": nan if pause_takeovers is None else pause_takeovers,
    }
