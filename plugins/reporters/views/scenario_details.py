"""What a report shows of each scenario when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.scenario import Turn
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench_plugins.reporters.html.timeline import Timeline, timeline
from fobench_plugins.reporters.views.audio_clips import AudioPlayer, players
from fobench_plugins.reporters.views.formatting import given, legal, line, reason, score_value, seconds
from fobench_plugins.reporters.views.metric_labels import FIGURES, ROUTES, TURN_TAKING
from fobench_plugins.reporters.views.outcome import Outcome, OutcomeLine, verdicts

ORDER = list(Outcome)
MOST_VALUES = 40  # of a tag, for a filter of its own


@dataclass(frozen=True, slots=True)
class DetailText:
    """Something that was said, written or heard; `missing` says why there is none."""

    label: str
    text: str
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioDetail:
    """One scenario, ready to be shown. `search` is what a text search looks through; `anchor` its place in the page."""

    anchor: str
    id: str
    suite: str
    question: str
    verdict: OutcomeLine
    response: str
    tags: dict[str, str]
    texts: list[DetailText]
    scores: list[tuple[str, str, str]]  # (label, value, reason)
    timeline: Timeline
    player: AudioPlayer
    search: str


def details(results: Results, audio_bytes: int) -> list[ScenarioDetail]:
    """All scenarios, failures first, then wrong answers; audio is embedded in that order, up to `audio_bytes`."""
    found = verdicts(results)
    order = sorted(range(len(found)), key=lambda i: (ORDER.index(found[i].outcome), i))
    sounds = players([results.traces[i] for i in order], results.folder, audio_bytes)
    return [
        detail(f"scenario-{i + 1}", results.traces[i], _own(results, i), found[i], sound)
        for i, sound in zip(order, sounds, strict=True)
    ]


def _own(results: Results, index: int) -> list[Score]:
    """The scenario's scores; without those that only a run's total can have (parity)."""
    totals = {total.metric for total in results.totals}
    return [score for score in results.scores[index] if score.metric in totals or given(score) is not None]


def detail(
    anchor: str, trace: Trace, scores: Sequence[Score], verdict: OutcomeLine, player: AudioPlayer
) -> ScenarioDetail:
    scenario = trace.scenario
    texts = _texts(trace)
    tags = {line(key): line(value) for key, value in scenario.tags.items()}
    asked = scenario.question or (scenario.turns[0] if scenario.turns else None)
    searched = [scenario.id, *(text.text for text in texts), *tags.values(), verdict.why]
    return ScenarioDetail(
        anchor=anchor,
        id=line(scenario.id),
        suite=line(scenario.suite),
        question=line((asked.text or asked.role) if asked else "(the user says nothing)"),
        verdict=verdict,
        response=_response(trace),
        tags=tags,
        texts=texts,
        scores=[_score(s) for s in scores if given(s) is not None] + [_score(s) for s in scores if given(s) is None],
        timeline=timeline(trace),
        player=player,
        search=" ".join(map(line, searched)).lower(),
    )


def _texts(trace: Trace) -> list[DetailText]:
    expect, judge = trace.scenario.expect, trace.judge
    shown = [_said(turn, trace) for turn in trace.scenario.turns]
    shown.append(_text("The system understood", trace.transcript(), "it reports no transcript"))
    shown += [_text(_wrote(trace, i), r.text, "no text") for i, r in enumerate(trace.replies)]
    if not trace.replies:
        shown.append(DetailText("The system wrote", "", "no reply"))
    shown.append(_text("The judge heard", judge.get("reply"), "nothing" if "reply" in judge else "not judged"))
    if expect.answers:
        shown.append(DetailText("Accepted answers", legal(" / ".join(expect.answers))))
    if expect.choices:
        shown.append(DetailText("Choices", legal(" / ".join(expect.choices))))
    routes = {"t2t": "Asked by text", "a2t2t": "Asked by its own transcript"}
    shown += [_text(routes.get(r, line(r)), text, "no reply") for r, text in trace.routes.items()]
    if "floor" in judge:
        shown.append(_text("The judge on the user's audio", judge["floor"], "nothing"))
    return shown


def _said(turn: Turn, trace: Trace) -> DetailText:
    plain = turn.role == "question" and turn.anchor.event == "start"
    label = "The user asks" if plain else f"The user ({line(turn.role)}, {turn.anchor.told()})"
    return _text(label, turn.text, "no reference text")


def _wrote(trace: Trace, index: int) -> str:
    return "The system wrote" if len(trace.replies) == 1 else f"The system wrote ({index + 1})"


def _text(label: str, text: str | None, missing: str) -> DetailText:
    kept = legal(text or "").strip()
    return DetailText(label, kept, "" if kept else missing)


def _score(score: Score) -> tuple[str, str, str]:
    known = FIGURES.get(score.metric)
    value = given(score)
    words = ("wrong", "right") if score.metric in ROUTES else ("no", "yes") if score.metric in TURN_TAKING else None
    shown = words[int(value)] if words and value in (0.0, 1.0) else score_value(score)
    return (known.label if known else line(score.metric)), shown, reason(score)


def _response(trace: Trace) -> str:
    """The response gap, where both ends are known."""
    question, answer = trace.question, trace.answer
    if question is None or answer is None or answer.audible_start_ns is None:
        return ""
    return seconds(answer.audible_start_ns - question.end_ns)


def tag_values(found: Sequence[ScenarioDetail]) -> dict[str, list[str]]:
    """{tag: its values} for the filters; a tag with one value, or with very many, makes no filter."""
    values: dict[str, set[str]] = {}
    for each in found:
        for key, value in each.tags.items():
            values.setdefault(key, set()).add(value)
    return {key: sorted(known) for key, known in values.items() if 1 < len(known) <= MOST_VALUES}
