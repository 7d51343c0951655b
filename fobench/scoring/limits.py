"""Absolute limits on a run's figures, beside gates on changes: `response_ms.p90<=1200`, `yield_rate>=95%`.

A limit is a metric, optionally with a key of its detail (p50, p90, p99, mean, ...), a relation and a number; `%` and `pp`
are hundredths, and a metric's own unit may follow the number. A figure without a value does not keep its limit.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fobench.api import typed
from fobench.api.results import Results
from fobench.api.types import Score
from fobench.errors import FobenchError, unknown

PATTERN = re.compile(
    r"(?P<figure>[\w:]+(?:\.\w+)?)\s*(?P<relation><=|>=|<|>)\s*(?P<number>[+-]?\d[\d_,]*(?:\.\d+)?)\s*(?P<unit>[^\d\s]*)"
)
RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
HUNDREDTHS = ("%", "pp")
ALIASES = {"parity": ("parity_s2s", "parity_s2t"), "accuracy": ("accuracy_s2s", "accuracy_s2t")}
EXAMPLE = 'e.g. "response_ms.p90<=1200" or "yield_rate>=95%"'


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it was written, and its parts. `part`: a key of the metric's detail; "" is its value."""

    text: str
    metric: str
    part: str
    relation: str
    bound: float
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Limit:
        """The limit of METRIC[.PART] RELATION NUMBER[UNIT]. Raises `FobenchError` for another form."""
        found = PATTERN.fullmatch(text.strip())
        if not found:
            raise FobenchError(
                f"--assert {typed.shown(text)}: write it as METRIC<=NUMBER or METRIC>=NUMBER, {EXAMPLE}."
            )
        metric, _, part = found["figure"].partition(".")
        bound = float(found["number"].replace(",", "").replace("_", ""))
        unit = found["unit"]
        return cls(text.strip(), metric, part, found["relation"], bound / 100 if unit in HUNDREDTHS else bound, unit)


@dataclass(frozen=True, slots=True)
class LimitOutcome:
    """Whether a run keeps a limit: the figure's value (None: it has none), and why not, in words."""

    limit: Limit
    value: float | None
    kept: bool
    why: str


def outcomes(limits: Sequence[str], results: Results) -> list[LimitOutcome]:
    """The outcome of each limit, in order. Raises `FobenchError` for a metric or a part that the run does not have."""
    totals = {score.metric: score for score in results.totals}
    return [_outcome(Limit.parse(text), totals) for text in limits]


def _outcome(limit: Limit, totals: Mapping[str, Score]) -> LimitOutcome:
    names = ALIASES.get(limit.metric, (limit.metric,))
    score = next((totals[name] for name in names if name in totals), None)
    if score is None:
        raise unknown("metric in --assert", limit.metric, [*totals, *ALIASES])
    if limit.unit and limit.unit not in (*HUNDREDTHS, score.unit):
        raise FobenchError(f"--assert {limit.text!r}: {score.metric} is in {score.unit!r}, not {limit.unit!r}.")
    value = score.value if not limit.part else _detail(limit, score)
    if value is None:
        why = score.reason or f"{limit.part or 'it'} needs more values than {score.n}"
        return LimitOutcome(limit, None, False, f"{score.metric} has no value: {why}")
    if RELATIONS[limit.relation](value, limit.bound):
        return LimitOutcome(limit, value, True, "")
    name = ".".join(filter(None, (score.metric, limit.part)))
    return LimitOutcome(limit, value, False, f"{name} is {value:.6g}, not {limit.relation} {limit.bound:.6g}")


def _detail(limit: Limit, score: Score) -> float | None:
    """A number in the metric's detail. Raises `FobenchError` for one that it never has."""
    numbers = [
        key for key, found in score.detail.items() if isinstance(found, int | float) and not isinstance(found, bool)
    ]
    if limit.part not in score.detail:
        if score.value is None:
            return None
        raise unknown(f"part of {score.metric} in --assert", limit.part, numbers)
    found = score.detail[limit.part]
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
