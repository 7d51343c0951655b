"""Values of metrics as text, each in the unit that its metric is shown in, and line breaks inside identifiers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from fobench.api.types import Score
from fobench.formatting import DASH, TIMES, compact, interval, number, one_line
from fobench_plugins.reporters.views.metric_labels import Kind, kind_of

SCALES: dict[Kind, tuple[float, int, str]] = {  # kind: (factor, decimals, unit)
    "rate": (100.0, 1, " %"),
    "ratio": (100.0, 1, " %"),
    "points": (1.0, 1, " pp"),
    "ms": (1.0, 0, " ms"),
    "factor": (1.0, 2, TIMES),
    "count": (1.0, 2, ""),
    "mos": (1.0, 2, ""),
}
AFTER_SEPARATOR = re.compile(r"(?<=[_\-/.:=,#@])")
COLUMN_GAP = 3  # cells between two columns of a table: the padding of both, and the box


def metric_value(value: float | None, kind: Kind, unit: str = "") -> str:
    """`value` with its unit, e.g. "91.7 %", "1,280 ms"; an en dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    if kind not in SCALES:
        return compact(value) if unit.lower() in ("", "count") else f"{compact(value)} {one_line(unit)}"
    factor, decimals, suffix = SCALES[kind]
    return number(value * factor, decimals) + suffix


def metric_interval(ci: tuple[float, float] | None, kind: Kind) -> str:
    """A 95 % interval, e.g. "84.6–97.9 %"; empty where there is none."""
    factor, decimals, suffix = SCALES.get(kind, (1.0, 3, ""))
    text = interval(ci, decimals, scale=factor)
    return text + suffix if text else ""


def score_value(score: Score | None) -> str:
    return DASH if score is None else metric_value(score.value, kind_of(score.metric, score.unit), score.unit)


def score_interval(score: Score | None) -> str:
    return "" if score is None else metric_interval(score.ci, kind_of(score.metric, score.unit))


def finite_value(score: Score | None) -> float | None:
    """The score's value if it is a finite number."""
    if score is None or score.value is None or not math.isfinite(score.value):
        return None
    return float(score.value)


def missing_reason(score: Score | None) -> str:
    """Why there is no value; empty where there is one."""
    if finite_value(score) is not None:
        return ""
    if score is None:
        return "not measured in this run"
    return one_line(score.reason) or "no reason is recorded"


def wrap_ids(text: str, width: int) -> str:
    """`text` with a line break in each word that is wider than `width` cells, after one of its separators where it has any."""
    return " ".join(word if cell_len(word) <= width else _wrap_word(word, width) for word in text.split(" "))


def _wrap_word(word: str, width: int) -> str:
    lines = [""]
    for piece in AFTER_SEPARATOR.split(word):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def label_width(width: int, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """The cells that are left for the first column of a table `width` wide, beside the other `columns` and the cells of `rows`."""
    cells = [columns, *rows]
    return width - sum(max(cell_len(row[i]) for row in cells) + COLUMN_GAP for i in range(len(columns)))
