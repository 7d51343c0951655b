"""Gates: which change for the worse a release must not have, e.g. `response_ms.p90:10%`, `parity:-2pp`.

A gate names a figure, how much worse it may become, and the unit: `%` of what it was; `pp`, percentage points, of a share, a
ratio or a WER; `ms`; or the figure's own unit. A sign may be written, and must be that of a change for the worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fobench.errors import FobenchError, unknown

WRITTEN = re.compile(r"(?P<figure>[^:]+):\s*(?P<sign>[+-]?)(?P<size>[0-9.]+(?:e[+-]?\d+)?)\s*(?P<unit>[^\d\s.]*)", re.I)
SHARES = ("share", "ratio", "fraction")  # units of figures of which a point is 0.01
ALIASES = {  # a name for the first of these that both runs have
    "parity": ("parity_s2s", "parity_s2t"),
    "accuracy": ("accuracy_s2s", "accuracy_s2t"),
}
EXAMPLE = 'e.g. "response_ms.p90:10%", "parity:-2pp", "understanding_wer:+0.5pp"'


@dataclass(frozen=True, slots=True)
class Gate:
    """`limit`: by how much `figure` may become worse, in `unit`; above 0. `sign`: as written, 0 if none was."""

    text: str
    figure: str
    limit: float
    unit: str
    sign: int = 0

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Raises `FobenchError` for what is not FIGURE:LIMITUNIT, and for a limit of 0."""
        found = WRITTEN.fullmatch(text.strip())
        size = _number(found["size"]) if found else math.nan
        if not found or not math.isfinite(size):
            raise FobenchError(f"--fail-on {text!r}: write it as FIGURE:LIMIT with a unit, {EXAMPLE}.")
        if not size:
            raise FobenchError(
                f"--fail-on {text!r}: no number of items can rule out any loss at all; give the least that matters."
            )
        sign = {"-": -1, "+": 1}.get(found["sign"], 0)
        return cls(text.strip(), found["figure"].strip(), size, found["unit"], sign)

    @property
    def relative(self) -> bool:
        """Whether the limit is a share of what the figure was."""
        return self.unit == "%"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it may be on."""
        return ALIASES.get(self.figure, (self.figure.partition(".")[0],))

    def resolved(self, figures: Mapping[str, tuple[str, str]]) -> Gate:
        """The gate on one of `figures` {name: (unit, better)}: aliases and a median without a name are resolved.

        Raises `FobenchError` for a figure that is none of them, a unit that does not fit it, and the sign of an improvement.
        """
        names = ALIASES.get(self.figure, (self.figure, f"{self.figure}.p50"))
        name = next((name for name in names if name in figures), None)
        if name is None:
            raise unknown("figure in --fail-on", self.figure, [*figures, *(a for a in ALIASES if _any(a, figures))])
        unit, better = figures[name]
        if self.unit not in (choices := units(unit)):
            raise unknown(f"unit of {name} in --fail-on {self.text!r}:", self.unit, choices)
        worse = {"higher": -1, "lower": 1}.get(better, self.sign)
        if not worse:
            raise FobenchError(
                f"--fail-on {self.text!r}: {name} is neither good nor bad by itself; write + or - before the limit."
            )
        if self.sign not in (0, worse):
            way = "falls" if worse < 0 else "rises"
            raise FobenchError(
                f"--fail-on {self.text!r}: {name} becomes worse if it {way}; write {'+-'[worse < 0]}{self.limit:g}{self.unit}."
            )
        return Gate(self.text, name, self.limit, self.unit, worse)

    def scale(self, unit: str) -> float:
        """What one of the gate's unit is in a figure's own `unit`, or as a share of 1 where the limit is relative."""
        return 0.01 if self.relative or (self.unit == "pp" and unit in SHARES) else 1.0


def units(unit: str) -> tuple[str, ...]:
    """The units that a limit on a figure of `unit` can have."""
    if unit in SHARES:
        return ("pp", "%")
    return ("pp", "%") if unit == "points" else (unit, "%")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _any(alias: str, figures: Mapping[str, tuple[str, str]]) -> bool:
    return any(name in figures for name in ALIASES[alias])
