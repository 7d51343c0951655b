"""The key figures at the top of a report."""

from __future__ import annotations

from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench_plugins.reporters.views.formatting import NONE, duration, given, reason, score_interval, score_value


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: its name, its value, and below what it rests on."""

    label: str
    value: str
    notes: tuple[str, ...] = ()
    alert: bool = False


KEY_RATES = {
    "accuracy_s2s": "Right by voice",
    "parity_s2s": "As good as by text",
    "understanding_wer": "Misheard (WER)",
    "speech_text_wer": "Misspoken (WER)",
    "interrupts_user_rate": "Interrupts the user",
    "yield_rate": "Yields to interruptions",
}
ORDER = ("accuracy_s2s", "parity_s2s", "response_ms", "understanding_wer", "speech_text_wer")
LATER = ("interrupts_user_rate", "yield_rate", "dnsmos")


def tiles(results: Results) -> list[Tile]:
    """The key figures, also those without a value (the later ones only with one), and what became of the scenarios."""
    wanted = [score for name in (*ORDER, *LATER) if (score := results.total(name)) is not None]
    found = [_tile(results, score) for score in wanted if score.metric in ORDER or score.value is not None]
    return [*found, _scenarios(results)]


def _tile(results: Results, score: Score) -> Tile:
    if score.metric == "response_ms":
        return _response(score)
    if score.metric == "dnsmos":
        return Tile("Sound of its speech", score_value(score), ("DNSMOS, 1 to 5", reason(score) or f"n = {score.n:,}"))
    notes = [f"{interval} (95 %)" for interval in [score_interval(score)] if interval]
    notes.append(reason(score) or f"n = {score.n:,}")
    floor = results.total("judge_floor_wer")
    if score.metric == "speech_text_wer" and given(floor) is not None:
        notes.append(f"judge's floor {score_value(floor)}")
    return Tile(KEY_RATES[score.metric], score_value(score), tuple(notes))


def _response(score: Score) -> Tile:
    value, p90 = given(score), score.detail.get("p90")
    notes = [reason(score) or f"median of {score.n:,}"]
    if isinstance(p90, int | float):
        notes.append(f"p90 {duration(p90)}")
    return Tile("Replies after", NONE if value is None else duration(value), tuple(notes))


def _scenarios(results: Results) -> Tile:
    total, failed = len(results.traces), sum(trace.failure is not None for trace in results.traces)
    notes = (f"{failed} failed" if failed else "none failed",)
    if missing := results.planned - total:
        notes = (f"of {results.planned:,}", *notes)
    return Tile("Scenarios", f"{total:,}", notes, alert=bool(failed or missing))
