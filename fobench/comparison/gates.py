"""Gates: limits on how much worse a metric may become, e.g. `response_ms.p90:10%`, `parity:-2pp`.

A gate is a metric, a limit and a unit: `%` relative to the base; `pp` (percentage points) for a share, a ratio or a WER; or
the metric's own unit, e.g. `ms`. A sign is optional and must be that of a change for the worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fobench.api import typed
from fobench.errors import FobenchError, unknown

PATTERN = re.compile(r"(?P<figure>[^:]+):\s*(?P<sign>[+-]?)(?P<size>[0-9.]+(?:e[+-]?\d+)?)\s*(?P<unit>[^\d\s.]*)", re.I)
SHARES = ("share", "ratio", "fraction")  # units of which a percentage point is 0.01
ALIASES = {  # alias: metrics, of which the first in both runs is meant
    "parity": ("parity_s2s", "parity_s2t"),
    "accuracy": ("accuracy_s2s", "accuracy_s2t"),
}
EXAMPLE = 'e.g. "response_ms.p90:10%", "parity:-2pp", "understanding_wer:+0.5pp"'


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit (above 0) in `unit` on how much the metric `figure` may become worse. `sign`: -1 or 1 as written, 0 without one."""

    text: str
    figure: str
    limit: float
    unit: str
    sign: int = 0

    @classmethod
    def parse(cls, text: str) -> Gate:
        """The gate of METRIC:LIMITUNIT. Raises `FobenchError` for another form, and for a limit of 0."""
        found = PATTERN.fullmatch(text.strip())
        size = _number(found["size"]) if found else math.nan
        if not found or not math.isfinite(size):
            raise FobenchError(f"--fail-on {typed.shown(text)}: write it as METRIC:LIMIT with a unit, {EXAMPLE}.")
        if not size:
            raise FobenchError(
                f"--fail-on {text!r}: a limit of 0 cannot be tested with any number of items; give the least loss that matters."
            )
        sign = {"-": -1, "+": 1}.get(found["sign"], 0)
        return cls(text.strip(), found["figure"].strip(), size, found["unit"], sign)

    @property
    def relative(self) -> bool:
        """Whether the limit is relative to the base value."""
        return self.unit == "%"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the gate can apply to."""
        return ALIASES.get(self.figure, (self.figure.partition(".")[0],))

    def resolve(self, metrics: Mapping[str, tuple[str, str]]) -> Gate:
        """The gate on one of `metrics` {name: (unit, better)}, with aliases resolved and `.p50` as the default percentile.

        Raises `FobenchError` for an unknown metric, a wrong unit, and the sign of an improvement.
        """
        names = ALIASES.get(self.figure, (self.figure, f"{self.figure}.p50"))
        name = next((name for name in names if name in metrics), None)
        if name is None:
            aliases = (alias for alias, targets in ALIASES.items() if not metrics.keys().isdisjoint(targets))
            raise unknown("metric in --fail-on", self.figure, [*metrics, *aliases])
        unit, better = metrics[name]
        if self.unit not in (choices := units(unit)):
            raise unknown(f"unit of {name} in --fail-on {self.text!r}:", self.unit, choices)
        worse = {"higher": -1, "lower": 1}.get(better, self.sign)
        if not worse:
            raise FobenchError(
                f"--fail-on {self.text!r}: {name} has no better direction; write + or - before the limit."
            )
        if self.sign not in (0, worse):
            direction = "falls" if worse < 0 else "rises"
            raise FobenchError(
                f"--fail-on {self.text!r}: {name} becomes worse if it {direction}; write {'+-'[worse < 0]}{self.limit:g}{self.unit}."
            )
        return Gate(self.text, name, self.limit, self.unit, worse)

    def scale(self, unit: str) -> float:
        """The size of one gate unit in the metric's own `unit`, or as a share of 1 if the limit is relative."""
        return 0.01 if self.relative or (self.unit == "pp" and unit in SHARES) else 1.0


def units(unit: str) -> tuple[str, ...]:
    """The units allowed for a limit on a metric in `unit`."""
    if unit in SHARES:
        return ("pp", "%")
    return ("pp", "%") if unit == "points" else (unit, "%")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
