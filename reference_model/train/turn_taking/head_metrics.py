"""Metrics of the state head over whole turns: the predicted class is that of the first chunk that is not "keep
listening"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fobench.statistics.proportions import wilson
from reference_model.train.turn_taking.vad_turns import MARGIN_S
from reference_model.turn_taking.state_head import StateHead, TurnState

PAUSING = ("paused", "hesitation", "joined")  # kinds of examples with silence inside the turn
NAMES = {TurnState.KEEP_LISTENING: "listen", TurnState.ANSWER: "answer", TurnState.IGNORE: "ignore"}
EARLY = "early answer"


@dataclass(frozen=True, slots=True)
class HeadDecision:
    """Expected and predicted class of an example; `delay_s` is the decision's time after the end of speech, s
    (negative: before it)."""

    kind: str
    expected: TurnState
    predicted: TurnState
    delay_s: float | None = None

    @classmethod
    def of(cls, kind: str, expected: int, p: Tensor, since: Tensor) -> HeadDecision:
        """Decides on class probabilities [N, 3] by chunk; `since` [N]: the end of each chunk, s after the end of
        speech."""
        for row, time in zip(p, since.tolist(), strict=True):
            if predicted := StateHead.decide(row):
                return cls(kind, TurnState(expected), predicted, time)
        return cls(kind, TurnState(expected), TurnState.KEEP_LISTENING)

    @property
    def is_early(self) -> bool:
        """Whether it is an answer before the end of speech."""
        return self.predicted is TurnState.ANSWER and self.delay_s is not None and self.delay_s < -MARGIN_S

    @property
    def is_correct(self) -> bool:
        return self.predicted is self.expected and not self.is_early

    @property
    def outcome(self) -> str:
        return EARLY if self.is_early and self.expected is TurnState.ANSWER else NAMES[self.predicted]


def macro_f1(decisions: Sequence[HeadDecision]) -> float:
    """Returns the macro F1 over the three states; an early answer counts as a false positive and a false negative."""
    scores = []
    for state in NAMES:
        correct = sum(d.is_correct for d in decisions if d.expected is state)
        positives = sum(d.expected is state for d in decisions) + sum(d.predicted is state for d in decisions)
        scores.append(2 * correct / max(1, positives))
    return float(np.mean(scores))


def delays_ms(decisions: Sequence[HeadDecision], state: TurnState) -> list[float]:
    """Returns the delays of the correct decisions for a state, ms after the end of speech."""
    return [
        max(0.0, d.delay_s) * 1000 for d in decisions if d.is_correct and d.predicted is state and d.delay_s is not None
    ]


def report(decisions: Sequence[HeadDecision]) -> dict[str, Any]:
    """Returns all metrics of the head for `states.json` and the model card, as JSON data."""
    pausing = [d for d in decisions if d.kind in PAUSING]
    kinds = sorted({d.kind for d in decisions})
    return {
        "situations": len(decisions),
        "macro_f1": round(macro_f1(decisions), 4),
        "answer_delay_ms": _percentiles(delays_ms(decisions, TurnState.ANSWER)),
        "ignore_delay_ms": _percentiles(delays_ms(decisions, TurnState.IGNORE)),
        "takeovers_in_pauses": _proportion(sum(d.is_early for d in pausing), len(pausing)),
        "answers_to_unfinished": _proportion_of(decisions, "unfinished", TurnState.ANSWER),
        "confusion": {NAMES[state]: _outcomes([d for d in decisions if d.expected is state]) for state in NAMES},
        "kinds": {kind: _kind_report([d for d in decisions if d.kind == kind]) for kind in kinds},
    }


def _kind_report(decisions: Sequence[HeadDecision]) -> dict[str, Any]:
    return {
        "wanted": NAMES[decisions[0].expected],
        **_outcomes(decisions),
        "right": _proportion(sum(d.is_correct for d in decisions), len(decisions)),
    }


def _outcomes(decisions: Sequence[HeadDecision]) -> dict[str, int]:
    return {name: sum(d.outcome == name for d in decisions) for name in (*NAMES.values(), EARLY)}


def _proportion_of(decisions: Sequence[HeadDecision], kind: str, predicted: TurnState) -> dict[str, Any]:
    found = [d for d in decisions if d.kind == kind]
    return _proportion(sum(d.predicted is predicted for d in found), len(found))


def _proportion(hits: int, n: int) -> dict[str, Any]:
    """Returns a proportion with its 95 % Wilson interval."""
    interval = wilson(hits, n)
    return {
        "share": round(hits / n, 4) if n else None,
        "n": n,
        "ci": [round(x, 4) for x in interval] if interval else None,
    }


def _percentiles(values: Sequence[float]) -> dict[str, Any]:
    found = np.percentile(values, (50, 90)).round().tolist() if values else (None, None)
    return {"p50": found[0], "p90": found[1], "n": len(values)}
