"""The tables that every reporter shows, as plain text cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fobench.api.results import Results
from fobench.api.types import Score
from fobench_plugins.reporters.views import duplex_families as by_family
from fobench_plugins.reporters.views import metric_labels
from fobench_plugins.reporters.views.formatting import (
    NONE,
    given,
    interval,
    line,
    plain,
    reason,
    score_interval,
    score_value,
)
from fobench_plugins.reporters.views.formatting import shown as shown_as
from fobench_plugins.reporters.views.metric_labels import MetricLabel

VALUE = ("Value", "95 % interval", "n")  # the columns of most tables
BETTER = {"higher": "↑", "lower": "↓", "none": ""}
DNSMOS_PARTS = {"ovrl": "Overall", "sig": "Speech", "bak": "Background", "p808": "Overall (P.808)"}
ABSENT = {  # counts in a total's detail that a reader should see
    "n_failed": "failed",
    "n_missing": "without a value",
    "n_unparsed": "unparsed",
    "n_no_reply": "without a reply",
    "n_empty_ref": "with an empty reference",
    "n_unpaired": "without a pair",
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line: `cells` under the table's columns; `note` is a remark or why there is no value; `means` its definition."""

    name: str
    label: str
    cells: tuple[str, ...]
    note: str = ""
    means: str = ""
    missing: bool = False  # no metric gave this total


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    caption: str
    columns: tuple[str, ...]  # the label's column first
    rows: tuple[TableRow, ...]

    @property
    def empty(self) -> bool:
        """Whether the run measured nothing of it."""
        return all(row.missing for row in self.rows)

    @property
    def present(self) -> tuple[TableRow, ...]:
        return tuple(row for row in self.rows if not row.missing)


def tables(results: Results) -> dict[str, Table]:
    """All tables by key, in the order of a report; empty ones included."""
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
    """The ratios with their verdict; McNemar's exact p and its discordant pairs stand in the note."""
    rows = []
    for name, figure in metric_labels.PARITIES.items():
        score = results.total(name)
        cells = (score_value(score), score_interval(score), count(score), verdict(score))
        note = "; ".join(filter(None, (mcnemar(score), remark(score))))
        rows.append(TableRow(name, figure.label, cells, note, figure.means, score is None))
    margins = {m for row in rows if (m := margin(results.total(row.name))) is not None}
    against = f" Verdict against a margin of {' / '.join(plain(m) for m in sorted(margins))} points." if margins else ""
    caption = f"Accuracy as a share of the text route's, paired by question; lost: right by text only.{against}"
    return Table("Parity with text", caption, ("Compared", "Parity", "95 % interval", "n", "Verdict"), tuple(rows))


def losses(results: Results) -> Table:
    caption = "Where accuracy goes, in points. Interval: 95 %."
    return _plain_table(results, "Decomposition", caption, "Loss", metric_labels.LOSSES)


def wers(results: Results) -> Table:
    names = (("System's recogniser", name_of(results, "recognizer")), ("Judge", name_of(results, "judge")))
    by = "".join(f" {who}: {name}." for who, name in names if name)
    caption = f"Word error rates, pooled over utterances; each use by itself.{by} Interval: 95 %."
    return _plain_table(results, "Intelligibility", caption, "Use", metric_labels.WERS, optional=("codec_wer",))


def latencies(results: Results) -> Table:
    rows = tuple(_latency(results.total(name), name, figure) for name, figure in metric_labels.LATENCIES.items())
    caption = "Milliseconds; the interval is that of p50. p90 is given from n = 10, p99 from n = 100."
    return Table("Latency", caption, ("Latency", "p50", "95 % interval", "p90", "p99", "n"), rows)


def turn_taking(results: Results) -> Table:
    caption = "Rates with 95 % interval; ↑ higher, ↓ lower is better."
    optional = ("pause_takeover_rate", "resume_rate", "response_after_interrupt", *metric_labels.STATES)
    figures = {**metric_labels.TURN_TAKING, **metric_labels.STATES}
    table = _plain_table(results, "Turn-taking", caption, "Rate", figures, optional)
    return replace(table, rows=tuple(row for whole in table.rows for row in (whole, *_by_role(results, whole.name))))


def _by_role(results: Results, name: str) -> list[TableRow]:
    """A rate's parts by what the user's sound was, where there is more than one kind."""
    score = results.total(name)
    roles = score.detail.get("by_role") if score else None
    if not isinstance(roles, Mapping) or len(roles) < 2:
        return []
    return [_role(name, line(role), part) for role, part in roles.items() if isinstance(part, Mapping)]


def _role(name: str, role: str, part: Mapping[str, Any]) -> TableRow:
    low_high = part.get("ci")
    ci = interval(tuple(low_high), "rate") if low_high else NONE
    cells = (shown_as(part.get("value"), "rate"), ci, f"{part.get('n', 0):,}")
    return TableRow(f"{name}_{role}", f"… {role.replace('_', ' ')}", cells)


def families(results: Results) -> Table:
    """A row a duplex family, its paired controls beside it."""
    rows = tuple(
        TableRow(name, line(name).replace("_", " "), by_family.rates(results, name), by_family.remark(results, name))
        for name in by_family.names(results)
    )
    caption = (
        "Kept: silent in the user's span, speaks in its own; control: the same of the paired scenarios. Stops: for how many of "
        "the sounds over its reply it stopped (for interruptions it should, for all else it should not)."
    )
    return Table("By family", caption, ("Family", "Kept", "95 % interval", "Control", "Stops", "n"), rows)


def family_times(results: Results) -> Table:
    """A row a duplex family: medians."""
    rows = tuple(
        TableRow(name, line(name).replace("_", " "), by_family.medians(results, name))
        for name in by_family.names(results)
    )
    caption = "Medians in ms: from an interruption's start to the decision to yield and to silence, from the user's end to the reply."
    return Table("Times by family", caption, ("Family", "Decides", "Silent", "Replies"), rows)


def playback(results: Results) -> Table:
    return _plain_table(
        results,
        "Compute and playback",
        "Compute time over media time (below 1 it keeps up), and gaps.",
        "Figure",
        metric_labels.PLAYBACK,
    )


def quality(results: Results) -> Table:
    """DNSMOS with its parts, a row each."""
    score = results.total("dnsmos")
    parts = {key: part for key in DNSMOS_PARTS if (part := _part(score, key)) is not None}
    figure = metric_labels.QUALITY["dnsmos"]
    if not parts:
        rows: tuple[TableRow, ...] = (_row(score, "dnsmos", figure),)
    else:
        rows = tuple(_quality_part(score, key, value) for key, value in parts.items())
    return Table("Speech quality", figure.means, ("DNSMOS", "Score", "95 % interval", "n"), rows)


def others(results: Results) -> Table:
    """Totals that the catalogue does not know: third-party metrics."""
    rows = [
        _row(score, score.metric, MetricLabel(line(score.metric), metric_labels.kind_of(score.metric, score.unit), ""))
        for score in results.totals
        if score.metric not in metric_labels.FIGURES
    ]
    return Table("Other metrics", "Of plugins that fobench does not know.", ("Metric", *VALUE), tuple(rows))


def _plain_table(
    results: Results,
    title: str,
    caption: str,
    first: str,
    figures: Mapping[str, MetricLabel],
    optional: tuple[str, ...] = (),
) -> Table:
    """Value, interval and n of each figure; `optional` ones are left out where no metric gave them."""
    wanted = {name: figure for name, figure in figures.items() if name not in optional or results.total(name)}
    rows = tuple(_row(results.total(name), name, figure) for name, figure in wanted.items())
    return Table(title, caption, (first, *VALUE), rows)


def _row(score: Score | None, name: str, figure: MetricLabel) -> TableRow:
    arrow = (
        BETTER.get(score.better, "") if score and name in {**metric_labels.TURN_TAKING, **metric_labels.STATES} else ""
    )
    label = f"{figure.label} {arrow}".strip()
    cells = (score_value(score), score_interval(score) or NONE, count(score))
    return TableRow(name, label, cells, remark(score), figure.means, score is None)


def _latency(score: Score | None, name: str, figure: MetricLabel) -> TableRow:
    p50 = _part(score, "p50")
    median = shown_as(given(score) if p50 is None else p50, "ms")
    beyond = (shown_as(_part(score, key), "ms") for key in ("p90", "p99"))
    spread = score_interval(score) or NONE
    cells = (*(text.removesuffix(" ms") for text in (median, spread, *beyond)), count(score))
    early = _part(score, "early")
    before = f"{plain(early)} early: spoke before the user had ended" if early else ""
    note = "; ".join(filter(None, (before, remark(score))))
    return TableRow(name, figure.label, cells, note, figure.means, score is None)


def _quality_part(score: Score | None, key: str, value: float) -> TableRow:
    ci = score.ci if score and key == "ovrl" else None
    cells = (shown_as(value, "mos"), interval(ci, "mos") or NONE, count(score))
    return TableRow(f"dnsmos_{key}", DNSMOS_PARTS[key], cells)


def remark(score: Score | None) -> str:
    """Why there is no value, or what of the run the value leaves out."""
    if why := reason(score):
        return why
    counts = ((_part(score, key), text) for key, text in ABSENT.items())
    found = [f"{plain(value)} {text}" for value, text in counts if value]
    if score and isinstance(confusion := score.detail.get("confusion"), list):
        found.append(
            "told 0 / 1 / 2 where true: "
            + "; ".join(f"{i}: {' / '.join(map(str, row))}" for i, row in enumerate(confusion))
        )
    if score and (whole := _part(score, "total")):
        found.append(f"{plain(whole)}{' ms' if score.unit == 'ms' else ''} in all")
    return ", ".join(found)


def count(score: Score | None) -> str:
    return NONE if score is None else f"{score.n:,}"


def verdict(score: Score | None) -> str:
    return line(score.detail.get("verdict") or NONE) if score else NONE


def margin(score: Score | None) -> float | None:
    return _part(score, "margin")


def mcnemar(score: Score | None) -> str:
    """McNemar's exact test in words, where the detail has it."""
    if score is None:
        return ""
    p = next((value for key in ("p", "mcnemar_p", "mcnemar") if (value := _part(score, key)) is not None), None)
    if p is None:
        return ""
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    b, c = _part(score, "b"), _part(score, "c")
    told = "" if b is None or c is None else f" ({plain(b)} lost, {plain(c)} gained)"
    return f"McNemar {chance}{told}"


def _part(score: Score | None, key: str) -> float | None:
    """A number of the score's detail, or None."""
    value = score.detail.get(key) if score else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def name_of(results: Results, component: str) -> str:
    """What the run used as `component` (system, backbone, recognizer, judge, voice), or an empty text."""
    components = results.run.get("components") or {}
    config = results.run.get("config") or {}
    system = components.get("system")
    within = system.get(component) if isinstance(system, Mapping) else None
    for found in (components.get(component), within, config.get(component)):
        if isinstance(found, Mapping):
            found = found.get("name") or found.get("model")
        if found:
            return line(found)
    return ""
