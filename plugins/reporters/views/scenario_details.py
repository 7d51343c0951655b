"""The details of each scenario in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.scenario import Turn
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.formatting import one_line, printable, seconds
from fobench_plugins.reporters.views.audio_clips import AudioPlayer, players
from fobench_plugins.reporters.views.formatting import finite_value, missing_reason, score_value
from fobench_plugins.reporters.views.metric_labels import METRICS, ROUTES, TURN_TAKING
from fobench_plugins.reporters.views.outcome import Outcome, OutcomeLine, verdicts
from fobench_plugins.reporters.views.timeline import Timeline, timeline

ORDER = list(Outcome)
MOST_VALUES = 40  # of a tag that becomes a filter


@dataclass(frozen=True, slots=True)
class DetailText:
    """A text of a scenario, e.g. a transcript; `missing` says why there is none."""

    label: str
    text: str
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioDetail:
    """One scenario, ready to be shown. `anchor` is its HTML id."""

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


def details(results: Results, audio_bytes: int) -> list[ScenarioDetail]:
    """All scenarios, failures first, then wrong answers; audio is embedded in that order, up to `audio_bytes`."""
    outcomes = verdicts(results)
    order = sorted(range(len(outcomes)), key=lambda i: (ORDER.index(outcomes[i].outcome), i))
    audio = players([results.traces[i] for i in order], results.folder, audio_bytes)
    return [
        detail(f"scenario-{i + 1}", results.traces[i], _own(results, i), outcomes[i], player)
        for i, player in zip(order, audio, strict=True)
    ]


def _own(results: Results, index: int) -> list[Score]:
    """The scenario's scores, without those that exist for a whole run only (parity)."""
    totals = {total.metric for total in results.totals}
    return [score for score in results.scores[index] if score.metric in totals or finite_value(score) is not None]


def detail(
    anchor: str, trace: Trace, scores: Sequence[Score], verdict: OutcomeLine, player: AudioPlayer
) -> ScenarioDetail:
    scenario = trace.scenario
    asked = scenario.question or (scenario.turns[0] if scenario.turns else None)
    return ScenarioDetail(
        anchor=anchor,
        id=one_line(scenario.id),
        suite=one_line(scenario.suite),
        question=one_line((asked.text or asked.role) if asked else "(silent user)"),
        verdict=verdict,
        response=_response(trace),
        tags={one_line(key): one_line(value) for key, value in scenario.tags.items()},
        texts=_texts(trace),
        scores=[_score(s) for s in scores if finite_value(s) is not None]
        + [_score(s) for s in scores if finite_value(s) is None],
        timeline=timeline(trace),
        player=player,
    )


def _texts(trace: Trace) -> list[DetailText]:
    expect, judge = trace.scenario.expect, trace.judge
    shown = [_user_text(turn, trace) for turn in trace.scenario.turns]
    shown.append(_text("ASR transcript", trace.transcript(), "the system reports none"))
    shown += [_text(_reply_label(trace, i), r.text, "no text") for i, r in enumerate(trace.replies)]
    if not trace.replies:
        shown.append(DetailText("Reply text", "", "no reply"))
    shown.append(
        _text("Reference-ASR transcript", judge.get("reply"), "empty" if "reply" in judge else "not transcribed")
    )
    if expect.answers:
        shown.append(DetailText("Accepted answers", printable(" / ".join(expect.answers))))
    if expect.choices:
        shown.append(DetailText("Choices", printable(" / ".join(expect.choices))))
    routes = {"t2t": "Reply to text (t2t)", "a2t2t": "Reply to the ASR transcript (a2t2t)"}
    shown += [_text(routes.get(r, one_line(r)), text, "no reply") for r, text in trace.routes.items()]
    if "floor" in judge:
        shown.append(_text("Reference-ASR transcript of the clean prompt", judge["floor"], "empty"))
    return shown


def _user_text(turn: Turn, trace: Trace) -> DetailText:
    plain = turn.role == "question" and turn.anchor.event == "start"
    label = "User" if plain else f"User ({one_line(turn.role)}, {turn.anchor.describe()})"
    return _text(label, turn.text, "no reference text")


def _reply_label(trace: Trace, index: int) -> str:
    return "Reply text" if len(trace.replies) == 1 else f"Reply text ({index + 1})"


def _text(label: str, text: str | None, missing: str) -> DetailText:
    kept = printable(text or "").strip()
    return DetailText(label, kept, "" if kept else missing)


def _score(score: Score) -> tuple[str, str, str]:
    known = METRICS.get(score.metric)
    value = finite_value(score)
    words = ("wrong", "right") if score.metric in ROUTES else ("no", "yes") if score.metric in TURN_TAKING else None
    shown = words[int(value)] if words and value in (0.0, 1.0) else score_value(score)
    return (known.label if known else one_line(score.metric)), shown, missing_reason(score)


def _response(trace: Trace) -> str:
    """The response latency, where both ends are known."""
    question, answer = trace.question, trace.answer
    if question is None or answer is None or answer.audible_start_ns is None:
        return ""
    return seconds(answer.audible_start_ns - question.end_ns)


def tag_values(found: Sequence[ScenarioDetail]) -> dict[str, list[str]]:
    """{tag: its values} for the filters; a tag with one value, or with very many, is no filter."""
    values: dict[str, set[str]] = {}
    for each in found:
        for key, value in each.tags.items():
            values.setdefault(key, set()).add(value)
    return {key: sorted(known) for key, known in values.items() if 1 < len(known) <= MOST_VALUES}
