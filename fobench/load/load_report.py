"""The record and the page of a load measurement."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fobench import plotting
from fobench.atomic_files import write_text
from fobench.console import markdown_table
from fobench.errors import PrerequisiteError
from fobench.load.levels import MOST_GAPS, MOST_LAG_MS
from fobench.storage import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "sessions",
    "conversations",
    "failed",
    "response p50, ms",
    "p90",
    "p99",
    "gaps a reply",
    "late p90, ms",
    "real time",
)
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{border-bottom:1px solid #8886;padding:.3rem .7rem;text-align:right}
img,svg{max-width:100%;height:auto;background:#fff;border-radius:.4rem}code{overflow-wrap:anywhere}"""


def write(folder: Path, name: str, about: dict[str, Any], levels: Sequence[dict[str, Any]], largest: int) -> list[Path]:
    """Writes load.json, load.md and load.html; returns their paths. Without matplotlib the page has no curves."""
    record = {
        "version": 1,
        "system": name,
        "components": about,
        "levels": list(levels),
        "largest_in_real_time": largest,
        "machine": environment.about(),
        "packages": environment.packages(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(name, levels, largest)
    files = {
        "load.json": json.dumps(record, indent=1) + "\n",
        "load.md": text,
        "load.html": _page(name, levels, largest),
    }
    for file, content in files.items():
        write_text(folder / file, content)
    return [folder / file for file in files]


def row(level: dict[str, Any]) -> tuple[str, ...]:
    """A level's values as texts, in the order of `COLUMNS`."""
    names = ("response_p50_ms", "response_p90_ms", "response_p99_ms")
    return (
        *(str(level[key]) for key in ("sessions", "conversations", "failed")),
        *(_number(level[key], 0) for key in names),
        _number(level["gaps_per_reply"], 2),
        _number(level["lag_p90_ms"], 0),
        "yes" if level["real_time"] else "no",
    )


def verdict(largest: int, levels: Sequence[dict[str, Any]]) -> str:
    """The result in one sentence."""
    most = max(level["sessions"] for level in levels)
    if not largest:
        return "Not one session keeps real time on this machine."
    more = " (the most that was tried)" if largest == most else ""
    return f"{largest} {'session keeps' if largest == 1 else 'sessions keep'} real time on this machine{more}."


def markdown(name: str, levels: Sequence[dict[str, Any]], largest: int) -> str:
    note = (
        f"Real time: no conversation failed, audio was handed over at most {MOST_LAG_MS:.0f} ms late (90th percentile over "
        f"conversations), and there were at most {MOST_GAPS:g} gaps a reply. Wall clock; all sessions in one process."
    )
    title = [f"# {name}: conversations at a time", "", f"**{verdict(largest, levels)}**", ""]
    return "\n".join([*title, *markdown_table(COLUMNS, map(row, levels)), "", note, ""])


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _page(name: str, levels: Sequence[dict[str, Any]], largest: int) -> str:
    head = "".join(f"<th scope=col>{html.escape(column)}" for column in COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row(level)) for level in levels)
    title = html.escape(f"{name}: conversations at a time")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p><b>{html.escape(verdict(largest, levels))}</b></p>"
        f'{_curves(levels)}<div class="scroll"><table><tr>{head}{rows}</table></div>'
        f"<p>Real time: no failure, audio at most {MOST_LAG_MS:.0f} ms late (p90), at most {MOST_GAPS:g} gaps a reply.</p></html>\n"
    )


def _curves(levels: Sequence[dict[str, Any]]) -> str:
    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        sessions = [level["sessions"] for level in levels]
        for share, color in zip((50, 90, 99), plotting.COLORS, strict=False):
            values = [level[f"response_p{share}_ms"] for level in levels]
            left.plot(
                sessions, [float("nan") if v is None else v for v in values], "o-", color=color, label=f"p{share}"
            )
        gaps = [float("nan") if level["gaps_per_reply"] is None else level["gaps_per_reply"] for level in levels]
        right.plot(sessions, gaps, "o-", color=plotting.COLORS[0])
        for axes, label in ((left, "response, ms"), (right, "gaps a reply")):
            axes.set(xlabel="sessions at a time", ylabel=label, ylim=(0, None), xticks=sessions)
        left.legend()

    try:
        return plotting.svg(draw, 860, 320, "Response and gaps over the number of sessions")
    except PrerequisiteError:
        return ""
