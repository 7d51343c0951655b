"""The tables that every reporter shows, as plain text cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fobench.api.results import Results, early_share
from fobench.api.types import Score
from fobench.formatting import DASH, compact, one_line, p_value
from fobench_plugins.reporters.views import duplex_families as by_family
from fobench_plugins.reporters.views import metric_labels
from fobench_plugins.reporters.views.formatting import (
    finite_value,
    metric_interval,
    metric_value,
    missing_reason,
    score_interval,
    score_value,
)
from fobench_plugins.reporters.views.metric_labels import MetricLabel, kind_of
from fobench_plugins.reporters.views.response import share_text

VALUE = ("Value", "95 % interval", "n")  # the columns of most tables
BETTER = {"higher": "↑", "lower": "↓", "none": ""}
DNSMOS_PARTS = {"ovrl": "Overall", "sig": "Speech", "bak": "Background", "p808": "Overall (P.808)"}
ABSENT = {  # counts in a total's detail that a reader should see
    "n_failed": "failed",
    "n_missing": "without a value",
    "n_unparsed": "unparsed",
    "n_unanswered": "without an answer of the judge",
    "n_no_reply": "without a reply",
    "n_empty_ref": "with an empty reference",
    "n_unpaired": "without a pair",
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: `cells` under the table's columns, `note` is a remark or the reason for a missing value, `means` the definition."""

    name: str
    label: str
    cells: tuple[str, ...]
    note: str = ""
    means: str = ""
    missing: bool = False  # the run has no such total


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    caption: str
    columns: tuple[str, ...]  # the label's column first
    rows: tuple[TableRow, ...]

    @property
    def empty(self) -> bool:
        """Whether the run has none of these metrics."""
        return all(row.missing for row in self.rows)

    @property
    def present(self) -> tuple[TableRow, ...]:
        return tuple(row for row in self.rows if not row.missing)


def tables(results: Results) -> dict[str, Table]:
    """All tables by key, in the order of a report, including empty ones."""
    return {
        "routes": routes(results),
        "parity": parity(results),
        "losses": losses(results),
        "wer": wers(results),
        "latency": latencies(results),
        "turns": turn_taking(results),
        "families": families(results),
        "family_times": family_times(results),
        "playback": playback(results),
        "quality": quality(results),
        "other": others(results),
    }


def routes(results: Results) -> Table:
    caption = "Share of questions answered correctly, by route. Interval: 95 %."
    return _plain_table(results, "Accuracy by route", caption, "Route", metric_labels.ROUTES)


def parity(results: Results) -> Table:
    """The ratios with their verdict; the note has McNemar's exact p and the discordant pairs."""
    rows = []
    for name, metric in metric_labels.PARITIES.items():
        score = results.total(name)
        cells = (score_value(score), score_interval(score), count(score), verdict(score))
        note = "; ".join(filter(None, (mcnemar(score), remark(score))))
        rows.append(TableRow(name, metric.label, cells, note, metric.means, score is None))
    margins = {m for row in rows if (m := margin(results.total(row.name))) is not None}
    against = f" Non-inferiority margin: {' / '.join(compact(m) for m in sorted(margins))} pp." if margins else ""
    caption = f"Accuracy as a ratio to the text route's, paired by question; lost: correct by text only.{against}"
    return Table("Parity with text", caption, ("Comparison", "Parity", "95 % interval", "n", "Verdict"), tuple(rows))


def losses(results: Results) -> Table:
    caption = "Loss of accuracy by stage, in percentage points. Interval: 95 %."
    return _plain_table(results, "Decomposition", caption, "Loss", metric_labels.LOSSES)


def wers(results: Results) -> Table:
    names = (("ASR", name_of(results, "recognizer")), ("Reference ASR", name_of(results, "judge")))
    by = "".join(f" {who}: {name}." for who, name in names if name)
    caption = f"Word error rates, pooled over utterances.{by} Interval: 95 %."
    optional = ("codec_wer", "understanding_wer_whisper", "speech_text_wer_whisper")
    return _plain_table(results, "Word error rates", caption, "Metric", metric_labels.WERS, optional)


def latencies(results: Results) -> Table:
    rows = tuple(_latency(results.total(name), name, metric) for name, metric in metric_labels.LATENCIES.items())
    caption = (
        "In milliseconds, with the 95 % interval of p50. p90 needs n = 10, p99 needs n = 100. Early: share of replies before the "
        "end of the user's speech, which the other columns leave out."
    )
    return Table("Latency", caption, ("Latency", "p50", "95 % interval", "p90", "p99", "n", "Early"), rows)


def turn_taking(results: Results) -> Table:
    caption = "Rates with 95 % intervals; ↑: higher is better, ↓: lower is better."
    optional = ("pause_takeover_rate", "resume_rate", "response_after_interrupt", *metric_labels.STATES)
    metrics = {**metric_labels.TURN_TAKING, **metric_labels.STATES}
    table = _plain_table(results, "Turn-taking", caption, "Rate", metrics, optional)
    return replace(table, rows=tuple(row for total in table.rows for row in (total, *_by_role(results, total.name))))


def _by_role(results: Results, name: str) -> list[TableRow]:
    """A rate by kind of user audio, where there is more than one kind."""
    score = results.total(name)
    roles = score.detail.get("by_role") if score else None
    if not isinstance(roles, Mapping) or len(roles) < 2:
        return []
    return [_role(name, one_line(role), part) for role, part in roles.items() if isinstance(part, Mapping)]


def _role(name: str, role: str, part: Mapping[str, Any]) -> TableRow:
    low_high = part.get("ci")
    ci = metric_interval(tuple(low_high), "rate") if low_high else DASH
    cells = (metric_value(part.get("value"), "rate"), ci, f"{part.get('n', 0):,}")
    return TableRow(f"{name}_{role}", f"… {role.replace('_', ' ')}", cells)


def families(results: Results) -> Table:
    """A row per duplex category, with its paired controls."""
    rows = tuple(
        TableRow(
            name, one_line(name).replace("_", " "), by_family.rates(results, name), by_family.remark(results, name)
        )
        for name in by_family.names(results)
    )
    caption = (
        "Success: turn-taking success rate; control: that of the paired control scenarios. Stops: share of user audio over the "
        "system's reply at which it stops (correct for interruptions, wrong for everything else)."
    )
    return Table("By category", caption, ("Category", "Success", "95 % interval", "Control", "Stops", "n"), rows)


def family_times(results: Results) -> Table:
    """A row per duplex category: median latencies."""
    rows = tuple(
        TableRow(name, one_line(name).replace("_", " "), by_family.medians(results, name))
        for name in by_family.names(results)
    )
    caption = (
        "Medians in ms: barge-in decision latency, barge-in stop latency and response latency; early: replies before the end of "
        "the user's speech, which the median leaves out."
    )
    return Table("Latency by category", caption, ("Category", "Decision", "Stop", "Response"), rows)


def playback(results: Results) -> Table:
    return _plain_table(
        results,
        "Real-time factor and playback",
        "RTF is compute time over audio duration (below 1: real time). Underruns are per reply.",
        "Metric",
        metric_labels.PLAYBACK,
    )


def quality(results: Results) -> Table:
    """DNSMOS, a row per dimension."""
    score = results.total("dnsmos")
    parts = {key: part for key in DNSMOS_PARTS if (part := _part(score, key)) is not None}
    metric = metric_labels.QUALITY["dnsmos"]
    if not parts:
        rows: tuple[TableRow, ...] = (_row(score, "dnsmos", metric),)
    else:
        rows = tuple(_quality_part(score, key, value) for key, value in parts.items())
    return Table("Speech quality", metric.means, ("DNSMOS", "Score", "95 % interval", "n"), rows)


def others(results: Results) -> Table:
    """Totals of third-party metrics, of an LLM judge, and of costs."""
    labels = ((score, metric_labels.further_label(score)) for score in results.totals)
    rows = tuple(_row(score, score.metric, label) for score, label in labels if label)
    caption = "Metrics of third-party plugins, those named by the user, and what the system says it has used."
    return Table("Other metrics", caption, ("Metric", *VALUE), rows)


def _plain_table(
    results: Results,
    title: str,
    caption: str,
    first: str,
    metrics: Mapping[str, MetricLabel],
    optional: tuple[str, ...] = (),
) -> Table:
    """Value, interval and n of each metric; `optional` metrics without a total are left out."""
    wanted = {name: metric for name, metric in metrics.items() if name not in optional or results.total(name)}
    rows = tuple(_row(results.total(name), name, metric) for name, metric in wanted.items())
    return Table(title, caption, (first, *VALUE), rows)


def _row(score: Score | None, name: str, metric: MetricLabel) -> TableRow:
    arrow = (
        BETTER.get(score.better, "") if score and name in {**metric_labels.TURN_TAKING, **metric_labels.STATES} else ""
    )
    label = f"{metric.label} {arrow}".strip()
    cells = (score_value(score), score_interval(score) or DASH, count(score))
    return TableRow(name, label, cells, remark(score), metric.means, score is None)


def _latency(score: Score | None, name: str, metric: MetricLabel) -> TableRow:
    p50 = _part(score, "p50")
    median = metric_value(finite_value(score) if p50 is None else p50, "ms")
    beyond = (metric_value(_part(score, key), "ms") for key in ("p90", "p99"))
    spread = score_interval(score) or DASH
    counted = score is not None and "unanswered" in score.detail
    share = share_text(early_share(score)) if score is not None and counted else DASH
    cells = (*(text.removesuffix(" ms") for text in (median, spread, *beyond)), count(score), share)
    early, unanswered = _part(score, "early"), _part(score, "unanswered")
    replies = (score.n if score else 0) + (early or 0)
    of_all = f"{compact(early)} of {compact(replies)}" if early and counted else compact(early or 0)
    before = f"{of_all} before the end of the user's speech" if early else ""
    silent = f"{compact(unanswered)} questions without one" if unanswered else ""
    note = "; ".join(filter(None, (before, silent, remark(score))))
    return TableRow(name, metric.label, cells, note, metric.means, score is None)


def _quality_part(score: Score | None, key: str, value: float) -> TableRow:
    ci = score.ci if score and key == "ovrl" else None
    cells = (metric_value(value, "mos"), metric_interval(ci, "mos") or DASH, count(score))
    return TableRow(f"dnsmos_{key}", DNSMOS_PARTS[key], cells)


def remark(score: Score | None) -> str:
    """The reason for a missing value, or what the value leaves out of the run."""
    if why := missing_reason(score):
        return why
    counts = ((_part(score, key), text) for key, text in ABSENT.items())
    found = [f"{compact(value)} {text}" for value, text in counts if value]
    if score and isinstance(confusion := score.detail.get("confusion"), list):
        by_state = "; ".join(f"{i}: {' / '.join(map(str, row))}" for i, row in enumerate(confusion))
        found.append(f"predicted 0 / 1 / 2 by true state: {by_state}")
    if score and (judge := judge_remark(score.detail)):
        found.append(judge)
    if score and isinstance(score.detail.get("currency"), str):
        spent, minutes = _part(score, "cost"), _part(score, "minutes")
        found.append(one_line(f"{compact(spent or 0)} {score.detail['currency']} in {compact(minutes or 0)} min"))
    if score and isinstance(kinds := score.detail.get("kinds"), Mapping):
        found.append(", ".join(one_line(f"{kind.replace('_', ' ')} {number}") for kind, number in kinds.items()))
    if score and score.ci is None and (no_interval := score.detail.get("no_interval")):
        found.append(f"no interval: {one_line(no_interval)}")
    if score and (speakers := _part(score, "n_groups")):
        by_speaker = metric_interval(_cluster_ci(score), kind_of(score.metric, score.unit)) or "too few to say"
        found.append(f"only {compact(speakers)} speakers: the interval is by scenario; by speaker {by_speaker}")
    if score and (sum_ := _part(score, "total")):
        found.append(f"{compact(sum_)}{' ms' if score.unit == 'ms' else ''} in total")
    return ", ".join(found)


def judge_remark(detail: Mapping[str, Any]) -> str:
    """Who judged, and for its agreement with the string match the 2 x 2 table and Cohen's kappa; empty without an LLM judge."""
    judge, table = detail.get("judge"), detail.get("table")
    if not isinstance(judge, Mapping) or not {"rubric", "model", "endpoint"} <= judge.keys():
        return ""
    if not isinstance(table, Mapping):
        return one_line(f"by {judge['model']} ({judge['endpoint']}), rubric {judge['rubric']}")
    kappa = detail.get("kappa")
    counts = ", ".join(f"{one_line(name).replace('_', ' ')} {number}" for name, number in table.items())
    return f"kappa {DASH if kappa is None else f'{kappa:.2f}'} ({counts})"


def _cluster_ci(score: Score) -> tuple[float, float] | None:
    ends = score.detail.get("cluster_ci")
    if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(map(_is_number, ends)):
        return None
    return float(ends[0]), float(ends[1])


def state_tables(results: Results) -> list[tuple[Table, Table]]:
    """The figures of each turn state, and the confusion matrix, of each metric of states that has them."""
    totals = ((metric, results.total(name)) for name, metric in metric_labels.STATES.items())
    return [_state_tables(metric, score) for metric, score in totals if score and _confusion(score)]


def _is_number(value: Any) -> bool:
    """Whether a value of a saved detail, which may have been edited, is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _confusion(score: Score) -> list[list[Any]]:
    """The confusion matrix [3, 3]; empty without one."""
    rows, states = score.detail.get("confusion"), len(metric_labels.STATE_NAMES)
    if not isinstance(rows, list) or len(rows) != states:
        return []
    complete = all(isinstance(row, list) and len(row) == states and all(map(_is_number, row)) for row in rows)
    return rows if complete else []


def _of_state(score: Score, figure: str, state: str) -> Any:
    """The value of a figure of one state; None without a number."""
    by_state = score.detail.get(figure)
    value = by_state.get(state) if isinstance(by_state, dict) else None
    return value if _is_number(value) else None


def _state_tables(metric: MetricLabel, score: Score) -> tuple[Table, Table]:
    figures = ("precision", "recall", "f1")
    by_state, matrix = [], []
    for state, name in metric_labels.STATE_NAMES.items():
        values = [_of_state(score, figure, state) for figure in figures]
        support = _of_state(score, "support", state)
        cells = (*(metric_value(value, "rate") for value in values), DASH if support is None else f"{support:,}")
        by_state.append(TableRow(state, name, cells))
        matrix.append(TableRow(state, name, tuple(compact(n) for n in _confusion(score)[int(state)])))
    caption = f"{metric.label}: mean F1 over the states that occur. Support: number of user turns in this state."
    columns = ("State", "Precision", "Recall", "F1", "Support")
    crossed = "Number of user turns by true state (rows) and predicted state (columns)."
    return (
        Table(f"{metric.label} by state", caption, columns, tuple(by_state)),
        Table(f"{metric.label}: confusion", crossed, ("True", *metric_labels.STATE_NAMES.values()), tuple(matrix)),
    )


def count(score: Score | None) -> str:
    return DASH if score is None else f"{score.n:,}"


def verdict(score: Score | None) -> str:
    return one_line(score.detail.get("verdict") or DASH) if score else DASH


def margin(score: Score | None) -> float | None:
    return _part(score, "margin")


def mcnemar(score: Score | None) -> str:
    """McNemar's exact test, where the detail has it."""
    if score is None:
        return ""
    p = next((value for key in ("p", "mcnemar_p", "mcnemar") if (value := _part(score, key)) is not None), None)
    if p is None:
        return ""
    text = p_value(p)
    relation = "p" if text.startswith("<") else "p ="
    b, c = _part(score, "b"), _part(score, "c")
    pairs = "" if b is None or c is None else f" ({compact(b)} lost, {compact(c)} gained)"
    return f"McNemar {relation} {text}{pairs}"


def _part(score: Score | None, key: str) -> float | None:
    """A number of the score's detail, or None."""
    value = score.detail.get(key) if score else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def name_of(results: Results, component: str) -> str:
    """The name of the run's `component` (system, backbone, recognizer, judge, voice), or an empty text."""
    components = results.run.get("components") or {}
    config = results.run.get("config") or {}
    system = components.get("system")
    within = system.get(component) if isinstance(system, Mapping) else None
    for found in (components.get(component), within, config.get(component)):
        if isinstance(found, Mapping):
            found = found.get("name") or found.get("model")
        if found:
            return one_line(found)
    return ""
