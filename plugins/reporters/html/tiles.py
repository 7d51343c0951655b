"""The key metrics at the top of a report."""

from __future__ import annotations

from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.formatting import DASH, duration
from fobench_plugins.reporters.views.formatting import finite_value, missing_reason, score_interval, score_value
from fobench_plugins.reporters.views.response import response_latency, share_text


@dataclass(frozen=True, slots=True)
class Tile:
    """A key metric: its name, its value, and below its interval and count."""

    label: str
    value: str
    notes: tuple[str, ...] = ()
    alert: bool = False


KEY_RATES = {
    "accuracy_s2s": "Accuracy (speech to speech)",
    "parity_s2s": "Parity with text",
    "understanding_wer": "ASR WER (user speech)",
    "speech_text_wer": "TTS WER (intelligibility)",
    "interrupts_user_rate": "False cut-in",
    "yield_rate": "Barge-in success rate",
}
ORDER = ("accuracy_s2s", "parity_s2s", "response_ms", "understanding_wer", "speech_text_wer")
LATER = ("interrupts_user_rate", "yield_rate", "dnsmos")


def tiles(results: Results) -> list[Tile]:
    """The key metrics, those of `LATER` only with a value, and the number of scenarios."""
    wanted = [score for name in (*ORDER, *LATER) if (score := results.total(name)) is not None]
    found = [_tile(results, score) for score in wanted if score.metric in ORDER or score.value is not None]
    return [*found, _scenarios(results)]


def _tile(results: Results, score: Score) -> Tile:
    if score.metric == "response_ms":
        return _response(results, score)
    if score.metric == "dnsmos":
        return Tile(
            "Speech quality", score_value(score), ("DNSMOS, 1 to 5", missing_reason(score) or f"n = {score.n:,}")
        )
    notes = [f"{interval} (95 %)" for interval in [score_interval(score)] if interval]
    notes.append(missing_reason(score) or f"n = {score.n:,}")
    floor = results.total("judge_floor_wer")
    if score.metric == "speech_text_wer" and finite_value(floor) is not None:
        notes.append(f"reference ASR on clean prompts {score_value(floor)}")
    return Tile(KEY_RATES[score.metric], score_value(score), tuple(notes))


def _response(results: Results, score: Score) -> Tile:
    """The response latency; the share of early replies in its place where they are too many for one."""
    found, p90 = response_latency(results), score.detail.get("p90")
    if found is None:
        return Tile("Response latency", DASH, (missing_reason(score),))
    if found.too_early:
        notes = (f"{found.early:,} of {found.replies:,}, so no latency is stated", found.unanswered_text)
        return Tile("Replies before the user's end", share_text(found.share), tuple(filter(None, notes)), alert=True)
    median = f"median, n = {score.n:,}" if found.median_ms is not None else "half of the questions or more failed"
    early = f"{share_text(found.share)} early ({found.early:,} of {found.replies:,})" if found.early else ""
    tail = f"p90 {duration(p90)}" if isinstance(p90, int | float) else ""
    value = DASH if found.median_ms is None else duration(found.median_ms)
    return Tile("Response latency", value, tuple(filter(None, (median, tail, early, found.unanswered_text))))


def _scenarios(results: Results) -> Tile:
    total, failed = len(results.traces), sum(trace.failure is not None for trace in results.traces)
    notes: tuple[str, ...] = (f"{failed} failed" if failed else "none failed",)
    if missing := results.planned - total:
        notes = (f"of {results.planned:,}", *notes)
    return Tile("Scenarios", f"{total:,}", notes, alert=bool(failed or missing))
