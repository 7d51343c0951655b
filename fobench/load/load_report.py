"""The record and the page of a load measurement."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fobench import plotting
from fobench.atomic_files import write_text
from fobench.console import counted, markdown_table
from fobench.errors import FobenchError, PrerequisiteError
from fobench.load.levels import MOST_LAG_MS, MOST_UNDERRUNS
from fobench.storage import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD = "load.json"
COLUMNS = ("sessions", "held", "failed", "response p50", "p90", "p99", "underruns", "late p90", "real time")
FAILURE_COLUMNS = ("sessions", "failure", "times", "the first one")
LONGEST_EXAMPLE = 300  # characters of a failure's message
STYLE = """:root{color-scheme:light dark;--line:#8886;--warn:#a33000}@media(prefers-color-scheme:dark){:root{--warn:#ffb38a}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.5rem;line-height:1.25;
overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}.verdict{font-size:1.15rem;font-weight:600}.warn{color:var(--warn)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{border-bottom:1px solid var(--line);
padding:.3rem .7rem;text-align:right;vertical-align:top}th{font-weight:600}.texts td,.texts th{text-align:left}
.texts td:last-child{overflow-wrap:anywhere;min-width:14rem}.curves{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.curves svg{flex:1 1 20rem;min-width:0;max-width:100%;height:auto;box-sizing:border-box;padding:.4rem;background:#fff;
border-radius:.4rem}
@media(max-width:40rem){body{margin:1rem auto}thead{display:none}table,tbody,tr,td{display:block}
tr{border-bottom:1px solid var(--line);padding:.5rem 0}td,.texts td{border:0;padding:.1rem 0;display:flex;gap:1rem;
justify-content:space-between;text-align:right}td::before{content:attr(data-label);flex:none;opacity:.75}
td:first-child{font-weight:600}.texts td:last-child{min-width:0}}"""


@dataclass(slots=True)
class LoadReport:
    """What was measured so far of the system `name`: `levels` as of `LoadLevel.summary`, of those `planned` (sessions).

    `about`: the system's description; `real_time`: whether it lives in real time; `largest`: as of `levels.largest`.
    """

    name: str
    suite: str
    about: dict[str, Any]
    real_time: bool
    planned: Sequence[int]
    levels: list[dict[str, Any]] = field(default_factory=list)
    largest: int = 0
    status: Literal["running", "complete", "interrupted", "failed"] = "running"

    def write(self, folder: Path) -> list[Path]:
        """Writes load.json, load.md and load.html; returns their paths. Without matplotlib the page has no curves."""
        record = {
            "version": 1,
            "status": self.status,
            "system": self.name,
            "suite": self.suite,
            "components": self.about,
            "planned": list(self.planned),
            "levels": self.levels,
            "largest_in_real_time": self.largest,
            "machine": environment.about(),
            "packages": environment.packages(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        files = {RECORD: json.dumps(record, indent=1) + "\n", "load.md": self.markdown(), "load.html": self.page()}
        for file, content in files.items():
            write_text(folder / file, content)
        return [folder / file for file in files]

    def verdict(self) -> str:
        """The result in one sentence, and a second one where levels are missing."""
        if not self.levels:
            return "Nothing is measured yet."
        missing = len(self.planned) - len(self.levels)
        rest = f" {counted(missing, 'level')} of {len(self.planned)} not measured ({self.status})." if missing else ""
        if not self.largest:
            first = min(level["sessions"] for level in self.levels)
            few = "Not one session keeps" if first == 1 else f"Fewer than {first} sessions keep"
            return f"{few} real time on this machine.{rest}"
        most = max(level["sessions"] for level in self.levels)
        more = " (the most that was tried)" if self.largest == most else ""
        keep = "session keeps" if self.largest == 1 else "sessions keep"
        return f"{self.largest} {keep} real time on this machine{more}.{rest}"

    def notes(self) -> list[str]:
        """How to read the table."""
        found = [
            "Held: conversations. Response, and by how much audio was handed over late, in ms; playback underruns of a reply, on average.",
            f"Real time: no conversation failed, audio was handed over at most {MOST_LAG_MS:.0f} ms late (90th percentile over "
            f"conversations), and there were at most {MOST_UNDERRUNS:g} underruns a reply. Wall clock; one system, in a process of its own; "
            f"suite {self.suite}.",
        ]
        if self.real_time:
            found.append(
                "This system computes elsewhere: lateness is this machine's alone, and the load of the server shows in response "
                "times, underruns and failures."
            )
        return found

    def failures(self) -> list[tuple[str, ...]]:
        """(sessions, kind, conversations, message of the first) of all failures."""
        return [
            (str(level["sessions"]), kind, str(found["count"]), str(found["example"])[:LONGEST_EXAMPLE])
            for level in self.levels
            for kind, found in level["failures"].items()
        ]

    def markdown(self) -> str:
        title = [f"# {self.name}: conversations at a time", "", f"**{self.verdict()}**", ""]
        failures = self.failures()
        listed = ["", "## Failures", "", *markdown_table(FAILURE_COLUMNS, failures)] if failures else []
        notes = [line for note in self.notes() for line in ("", note)]
        return "\n".join([*title, *markdown_table(COLUMNS, map(row, self.levels)), *listed, *notes, ""])

    def page(self) -> str:
        title = html.escape(f"{self.name}: conversations at a time")
        failures = self.failures()
        listed = f"<h2>Failures</h2>{_table(FAILURE_COLUMNS, failures, 'texts')}" if failures else ""
        warned = "" if self.largest and self.status not in ("interrupted", "failed") else " warn"
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p class="verdict{warned}">'
            f'{html.escape(self.verdict())}</p><div class="curves">{_curves(self.levels)}</div>'
            f"{_table(COLUMNS, map(row, self.levels))}{listed}"
            f"{''.join(f'<p>{html.escape(note)}</p>' for note in self.notes())}</html>\n"
        )


def check_free(folder: Path) -> None:
    """Raises FobenchError for a folder that holds a measurement or a run already."""
    if taken := next((name for name in (RECORD, "run.json") if (folder / name).exists()), None):
        raise FobenchError(f"{folder} holds another measurement ({taken}): choose another --output, or remove it.")


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


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _table(columns: Sequence[str], rows: Any, kind: str = "numbers") -> str:
    """A table; on a narrow screen each of its rows stands as a list of its own, with the columns' names."""
    head = "".join(f'<th scope="col">{html.escape(column)}' for column in columns)
    body = ""
    for cells in rows:
        named = zip(columns, cells, strict=True)
        body += "<tr>" + "".join(
            f'<td data-label="{html.escape(column)}"><span>{html.escape(cell)}</span>' for column, cell in named
        )
    return f'<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr>{head}<tbody>{body}</table></div>'


def _curves(levels: Sequence[dict[str, Any]]) -> str:
    """Two plots, whose axes begin at 0, and which stand one below the other on a narrow screen; empty without matplotlib."""
    sessions = [level["sessions"] for level in levels]

    def values(key: str) -> list[float]:
        return [float("nan") if level[key] is None else level[key] for level in levels]

    def plot(label: str, lines: dict[str, str], least: float) -> str:
        def draw(figure: Figure) -> None:
            axes, highest = figure.subplots(), least
            for (key, name), color in zip(lines.items(), plotting.COLORS, strict=False):
                axes.plot(sessions, values(key), "o-", color=color, label=name, clip_on=False)
                highest = max([highest, *(1.08 * level[key] for level in levels if level[key] is not None)])
            axes.set(xlabel="sessions at a time", ylabel=label, ylim=(0, highest), xticks=sessions)
            axes.yaxis.set_major_formatter("{x:,g}")
            if len(lines) > 1:
                axes.legend()

        return plotting.svg(draw, 430, 300, f"{label} over the number of sessions")

    try:
        response = plot("response, ms", {f"response_p{share}_ms": f"p{share}" for share in (50, 90, 99)}, 100)
        return response + plot("underruns a reply", {"gaps_per_reply": "underruns"}, 2 * MOST_UNDERRUNS)
    except PrerequisiteError:
        return ""
