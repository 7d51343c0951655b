"""How well a state head decides on whole situations: the first chunk at which it calls for more than listening is its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fobench.statistics.proportions import wilson
from reference_model.train.turn_taking.vad_turns import MARGIN_S
from reference_model.turn_taking.state_head import StateHead, TurnState

PAUSING = ("paused", "joined")  # kinds of situation that are silent inside the turn
NAMES = {TurnState.KEEP_LISTENING: "listen", TurnState.ANSWER: "answer", TurnState.IGNORE: "ignore"}
EARLY = "early answer"


@dataclass(frozen=True, slots=True)
class HeadDecision:
    """What was `wanted` and what was `made` of a situation; `delay_s` from the end of what was said (below 0: before it)."""

    kind: str
    wanted: TurnState
    made: TurnState
    delay_s: float | None = None

    @classmethod
    def of(cls, kind: str, wanted: int, p: Tensor, since: Tensor) -> HeadDecision:
        """From the probabilities [N, 3] at the chunks, and the times [N] of their ends since the end of what was said."""
        for row, time in zip(p, since.tolist(), strict=True):
            if made := StateHead.decide(row):
                return cls(kind, TurnState(wanted), made, time)
        return cls(kind, TurnState(wanted), TurnState.KEEP_LISTENING)

    @property
    def early(self) -> bool:
        """An answer to somebody who has not yet ended."""
        return self.made is TurnState.ANSWER and self.delay_s is not None and self.delay_s < -MARGIN_S

    @property
    def right(self) -> bool:
        return self.made is self.wanted and not self.early

    @property
    def outcome(self) -> str:
        return EARLY if self.early and self.wanted is TurnState.ANSWER else NAMES[self.made]


def macro_f1(verdicts: Sequence[HeadDecision]) -> float:
    """The mean over the three states of F1; an answer that comes early is one too many and one too few."""
    scores = []
    for state in NAMES:
        right = sum(v.right for v in verdicts if v.wanted is state)
        named = sum(v.wanted is state for v in verdicts) + sum(v.made is state for v in verdicts)
        scores.append(2 * right / max(1, named))
    return float(np.mean(scores))


def delays_ms(verdicts: Sequence[HeadDecision], state: TurnState) -> list[float]:
    """Of the right verdicts for a state: how long after the end of what was said they came."""
    return [max(0.0, v.delay_s) * 1000 for v in verdicts if v.right and v.made is state and v.delay_s is not None]


def report(verdicts: Sequence[HeadDecision]) -> dict[str, Any]:
    """Plain data: all that a model card says of the head."""
    pausing = [v for v in verdicts if v.kind in PAUSING]
    kinds = sorted({v.kind for v in verdicts})
    return {
        "situations": len(verdicts),
        "macro_f1": round(macro_f1(verdicts), 4),
        "answer_delay_ms": _spread(delays_ms(verdicts, TurnState.ANSWER)),
        "ignore_delay_ms": _spread(delays_ms(verdicts, TurnState.IGNORE)),
        "takeovers_in_pauses": _share(sum(v.early for v in pausing), len(pausing)),
        "answers_to_unfinished": _share_of(verdicts, "unfinished", TurnState.ANSWER),
        "confusion": {NAMES[state]: _outcomes([v for v in verdicts if v.wanted is state]) for state in NAMES},
        "kinds": {kind: _kind([v for v in verdicts if v.kind == kind]) for kind in kinds},
    }


def _kind(verdicts: Sequence[HeadDecision]) -> dict[str, Any]:
    return {
        "wanted": NAMES[verdicts[0].wanted],
        **_outcomes(verdicts),
        "right": _share(sum(v.right for v in verdicts), len(verdicts)),
    }


def _outcomes(verdicts: Sequence[HeadDecision]) -> dict[str, int]:
    return {name: sum(v.outcome == name for v in verdicts) for name in (*NAMES.values(), EARLY)}


def _share_of(verdicts: Sequence[HeadDecision], kind: str, made: TurnState) -> dict[str, Any]:
    found = [v for v in verdicts if v.kind == kind]
    return _share(sum(v.made is made for v in found), len(found))


def _share(hits: int, n: int) -> dict[str, Any]:
    """With Wilson's 95 % interval."""
    return {
        "share": round(hits / n, 4) if n else None,
        "n": n,
        "ci": [round(x, 4) for x in wilson(hits, n)] if n else None,
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    found = np.percentile(values, (50, 90)).round().tolist() if values else (None, None)
    return {"p50": found[0], "p90": found[1], "n": len(values)}
