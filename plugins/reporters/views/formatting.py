"""Values as text: one way of writing a percentage, an interval, a time, for every reporter; and text made harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from fobench.api.types import NS_PER_S, Score
from fobench_plugins.reporters.views.metric_labels import Kind, kind_of

DASH = "\u2013"
NONE = DASH  # a value that could not be given
MINUS = "\u2212"
TIMES = "\u00d7"
SCALES: dict[Kind, tuple[float, int, str]] = {  # kind: (factor, decimals, what follows)
    "rate": (100.0, 1, " %"),
    "ratio": (100.0, 1, " %"),
    "points": (1.0, 1, " points"),
    "ms": (1.0, 0, " ms"),
    "factor": (1.0, 2, TIMES),
    "count": (1.0, 2, ""),
    "mos": (1.0, 2, ""),
}
ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 refuses


def legal(text: object) -> str:
    """`text` without control characters and lone surrogates, which neither XML nor a terminal should be given."""
    return ILLEGAL.sub("\ufffd", str(text))


def line(text: object) -> str:
    """`text` in one line."""
    return " ".join(legal(text).split())


def number(value: float, decimals: int) -> str:
    """With thousands commas and a true minus sign; never "-0"."""
    text = f"{abs(value):,.{decimals}f}"
    return MINUS + text if value < 0 and float(text.replace(",", "")) else text


def plain(value: float) -> str:
    """A number of an unknown kind: whole as such, else four significant digits."""
    whole = float(value).is_integer() and abs(value) < 1e9
    text = f"{abs(value):,.0f}" if whole else f"{abs(value):.4g}"
    return MINUS + text if value < 0 else text


def shown(value: float | None, kind: Kind, unit: str = "") -> str:
    """`value` with its unit, e.g. "91.7 %", "1,280 ms"; an en-dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return NONE
    if kind not in SCALES:
        return plain(value) if unit.lower() in ("", "count") else f"{plain(value)} {line(unit)}"
    factor, decimals, after = SCALES[kind]
    return number(value * factor, decimals) + after


def interval(ci: tuple[float, float] | None, kind: Kind) -> str:
    """A 95 % interval, e.g. "84.6–97.9 %"; empty where there is none."""
    if ci is None or not all(math.isfinite(end) for end in ci):
        return ""
    factor, decimals, after = SCALES.get(kind, (1.0, 3, ""))
    low, high = (number(end * factor, decimals) for end in ci)
    return f"{low} to {high}{after}" if MINUS in low + high else f"{low}{DASH}{high}{after}"


def score_value(score: Score | None) -> str:
    return NONE if score is None else shown(score.value, kind_of(score.metric, score.unit), score.unit)


def score_interval(score: Score | None) -> str:
    return "" if score is None else interval(score.ci, kind_of(score.metric, score.unit))


def given(score: Score | None) -> float | None:
    """The score's value if there is one that is a finite number."""
    if score is None or score.value is None or not math.isfinite(score.value):
        return None
    return float(score.value)


def reason(score: Score | None) -> str:
    """Why there is no value; empty where there is one."""
    if given(score) is not None:
        return ""
    if score is None:
        return "not measured in this run"
    return line(score.reason) or "no reason given"


def seconds(ns: float) -> str:
    return f"{number(ns / NS_PER_S, 2)} s"


def duration(ms: float) -> str:
    """A latency for a sentence: "840 ms", "1.3 s"."""
    return f"{number(ms, 0)} ms" if abs(ms) < 1000 else f"{number(ms / 1000, 1)} s"


def fact(value: Any) -> str:
    """Any value of run.json in one line: mappings as `key=value`, lists with commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{line(key)}={fact(item)}" for key, item in value.items() if item not in (None, "", {}, []))
    if isinstance(value, list | tuple):
        return ", ".join(fact(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain(value)
    return line(value)
