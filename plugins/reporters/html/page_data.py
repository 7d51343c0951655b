"""The scenarios of a page as compact JSON, from which its script makes rows and timelines as they are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fobench.formatting import printable
from fobench_plugins.reporters.views.audio_clips import HEIGHTS, AudioPlayer
from fobench_plugins.reporters.views.outcome import Outcome
from fobench_plugins.reporters.views.scenario_details import ScenarioDetail
from fobench_plugins.reporters.views.timeline import SYMBOLS, Bracket, Timeline, TimelineSpan

OUTCOMES = list(Outcome)
KINDS = list(SYMBOLS)


class StringTable:
    """Texts that many scenarios share, each once; a scenario holds their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def texts(self) -> list[str]:
        return [printable(text) for text in self._numbers]


def page_data(shown: Sequence[ScenarioDetail], filters: Mapping[str, Sequence[str]]) -> str:
    """The JSON text, safe inside a script element: no markup of a run can end it."""
    strings = StringTable()
    items = [_item(each, filters, strings) for each in shown]
    data = {
        "outcomes": [outcome.value for outcome in OUTCOMES],
        "symbols": SYMBOLS,
        "heights": HEIGHTS,
        "items": items,
        "strings": strings.texts(),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _item(each: ScenarioDetail, filters: Iterable[str], strings: StringTable) -> dict[str, Any]:
    """One scenario; what is empty is left out."""
    number = strings.number
    item = {
        "anchor": each.anchor,
        "id": printable(each.id),
        "question": printable(each.question),
        "outcome": OUTCOMES.index(each.verdict.outcome),
        "why": printable(each.verdict.why),
        "response": each.response,
        "tags": [number(value) for value in each.tags.values()],
        "chosen": [number(each.tags.get(tag, "")) for tag in filters],
        "texts": [[number(t.label), printable(t.text), number(t.missing) if t.missing else None] for t in each.texts],
        "scores": [[number(label), number(value), number(reason)] for label, value, reason in each.scores],
        "timeline": _timeline(each.timeline, strings),
        "player": _player(each.player),
    }
    return {key: value for key, value in item.items() if value not in ("", [])}


def _timeline(found: Timeline, strings: StringTable) -> dict[str, Any]:
    """Places are in percent, as in `Timeline`."""
    lanes = {"user": found.user, "heard": found.heard, "lost": found.lost, "gap": found.underruns}
    shown = {
        "seconds": found.duration_s,
        **{kind: [[*_place(span), printable(span.title)] for span in spans] for kind, spans in lanes.items()},
        "work": [[*_place(span), strings.number(span.kind), strings.number(span.title)] for span in found.work],
        "marks": [[round(mark.x, 2), KINDS.index(mark.kind), printable(mark.title)] for mark in found.marks],
        "ticks": [[round(x, 2), label] for x, label in found.ticks],
        "stops": [_bracket(stop) for stop in found.stops],
        "response": _bracket(found.response) if found.response else [],
        "events": [[at, strings.number(what)] for at, what in found.events],
    }
    return {key: value for key, value in shown.items() if value != []}


def _place(span: TimelineSpan) -> tuple[float, float]:
    return round(span.x, 2), round(span.width, 2)


def _bracket(found: Bracket) -> list[Any]:
    return [round(found.x, 2), round(found.width, 2), found.label, int(found.early)]


def _player(player: AudioPlayer) -> dict[str, str]:
    shown = {"embedded": player.embedded, "link": player.link, "why": player.why}
    waves = {"user": player.user, "system": player.system}
    return {key: text for key, text in (shown | waves).items() if text}
