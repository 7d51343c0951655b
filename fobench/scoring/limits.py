"""Absolute limits on a run's metrics, beside gates on changes: `response_ms.p90<=1200`, `yield_rate>=95%`.

A limit is a metric, optionally with a key of its detail (p50, p90, p99, mean, ...), a relation and a number; `%` and `pp`
are hundredths (of a metric in percentage points: its own unit), and a metric's own unit may follow the number. A metric without
a value does not keep its limit.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fobench.api import typed
from fobench.api.results import LimitOutcome
from fobench.api.types import Score
from fobench.errors import FobenchError, unknown

PATTERN = re.compile(
    r"(?P<metric>[\w:]+(?:\.\w+)?)\s*(?P<relation><=|>=|<|>)\s*"
    r"(?P<number>[+-]?(?:(?:[1-9]\d{0,2}(?:,\d{3})+|\d[\d_]*)(?:\.\d*)?|\.\d+))\s*(?P<unit>[^\d\s.,]*)"  # 0,95 is none
)
RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
HUNDREDTHS = ("%", "pp")
DIMENSIONLESS = ("share", "ratio", "points")  # units of metrics whose limits may be written in hundredths
ALIASES = {"parity": ("parity_s2s", "parity_s2t"), "accuracy": ("accuracy_s2s", "accuracy_s2t")}
EXAMPLE = 'e.g. "response_ms.p90<=1200" or "yield_rate>=95%"'


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it was written, and its parts. `part`: a key of the metric's detail; "" is its value."""

    text: str
    metric: str
    part: str
    relation: str
    number: float
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Limit:
        """The limit of METRIC[.PART] RELATION NUMBER[UNIT]. Raises `FobenchError` for another form."""
        found = PATTERN.fullmatch(text.strip())
        if not found:
            raise FobenchError(
                f"--assert {typed.shown(text)}: write it as METRIC<=NUMBER or METRIC>=NUMBER, {EXAMPLE}."
            )
        metric, _, part = found["metric"].partition(".")
        number = float(found["number"].replace(",", "").replace("_", ""))
        return cls(text.strip(), metric, part, found["relation"], number, found["unit"])

    def total(self, names: Mapping[str, object]) -> str:
        """The metric among `names` that is limited, with aliases resolved. Raises `FobenchError` for an unknown one."""
        name = next((name for name in ALIASES.get(self.metric, (self.metric,)) if name in names), None)
        if name is None:
            raise unknown("metric in --assert", self.metric, [*names, *ALIASES])
        return name

    def bound(self, metric: str, unit: str) -> float:
        """The bound in the metric's own `unit`. Raises `FobenchError` for a limit in another unit."""
        choices = [unit, *(HUNDREDTHS if unit in DIMENSIONLESS else ())]
        if self.unit and self.unit not in choices:
            raise FobenchError(
                f"--assert {self.text!r}: {metric} is in {unit!r}, not {self.unit!r}. Choices: {', '.join(choices)}, or no unit."
            )
        return self.number / 100 if self.unit in HUNDREDTHS and unit != "points" else self.number


def check(limits: Sequence[str], units: Mapping[str, str]) -> None:
    """Raises `FobenchError` for a text that is no limit, and for a metric or unit that is not in `units` {metric: unit}."""
    for limit in map(Limit.parse, limits):
        name = limit.total(units)
        limit.bound(name, units[name])


def outcomes(limits: Sequence[str], totals: Sequence[Score]) -> list[LimitOutcome]:
    """The outcome of each limit on a run's totals, in order.

    A limit on what the run does not have is not kept, with the choices as the reason: `check` refuses metrics before a run.
    """
    by_name = {score.metric: score for score in totals}
    return [_outcome(Limit.parse(text), by_name) for text in limits]


def _outcome(limit: Limit, totals: Mapping[str, Score]) -> LimitOutcome:
    metric, unit = limit.metric, ""
    try:
        metric = limit.total(totals)
        score, unit = totals[metric], totals[metric].unit
        bound = limit.bound(metric, unit)
        value = _detail(limit, score) if limit.part else score.value
    except FobenchError as error:
        return LimitOutcome(limit.text, metric, unit, None, False, str(error))
    if value is None or not math.isfinite(value):
        why = score.reason or f"{limit.part or 'it'} needs more values than {score.n}"
        return LimitOutcome(limit.text, metric, unit, None, False, f"{metric} has no value: {why}")
    if RELATIONS[limit.relation](value, bound):
        return LimitOutcome(limit.text, metric, unit, value, True)
    name = ".".join(filter(None, (metric, limit.part)))
    return LimitOutcome(
        limit.text, metric, unit, value, False, f"{name} is {value:.6g}, not {limit.relation} {bound:.6g}"
    )


def _detail(limit: Limit, score: Score) -> float | None:
    """A number in the metric's detail. Raises `FobenchError` for one that it never has."""
    found = score.detail.get(limit.part)
    if limit.part not in score.detail and score.value is not None:
        parts = [key for key, value in score.detail.items() if type(value) in (int, float)]
        raise unknown(f"part of {score.metric} in --assert", limit.part, parts)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
