"""Several runs in one table: a row per metric, a column per run. Each value is that of the run's own report; nothing is tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fobench.api.results import Results, early_share
from fobench.api.types import Score
from fobench.console import counted
from fobench.formatting import DASH, one_line
from fobench_plugins.reporters.views import headline, metric_labels
from fobench_plugins.reporters.views.formatting import finite_value, missing_reason, score_interval, score_value
from fobench_plugins.reporters.views.metric_labels import MetricLabel
from fobench_plugins.reporters.views.response import share_text
from fobench_plugins.reporters.views.tables import BETTER, name_of

SECONDARY_WERS = ("speech_text_cer", "understanding_wer_whisper", "speech_text_wer_whisper")
GROUPS: dict[str, Mapping[str, MetricLabel]] = {
    "Accuracy by route": metric_labels.ROUTES,
    "Parity with text": metric_labels.PARITIES,
    "Word error rates": {name: metric for name, metric in metric_labels.WERS.items() if name not in SECONDARY_WERS},
    "Latency, p50": metric_labels.LATENCIES,
    "Turn-taking": metric_labels.TURN_TAKING,
    "Speech quality": metric_labels.QUALITY,
}
ROUTE_OF = {
    name: name.replace("parity_", "accuracy_") for name in metric_labels.PARITIES
}  # a parity rests on two routes
TEXT = "accuracy_t2t"
NAMED = 3  # at most so many runs are named in a title and in the summary
GLUE = "\u00a0"  # a space at which no line breaks
CAPTION = (
    "Interval: 95 %. ↑: higher is better, ↓: lower is better. Common: scenarios that have a value in every run. Each run's own "
    "report has the definitions."
)


@dataclass(frozen=True, slots=True)
class RunCell:
    """A metric's value in one run, its 95 % interval and its count; `why`: the reason for a missing value."""

    value: str
    interval: str = ""
    n: str = ""
    why: str = ""
    share: float | None = None  # the value of a rate, for a bar
    early: str = ""  # the share of replies before the user's end, which are not in the value

    @property
    def rest(self) -> str:
        """Interval, count and early share, or the reason for a missing value, on one line."""
        count = f"n{GLUE}={GLUE}{self.n}" if self.n else ""
        return self.why or ", ".join(filter(None, (self.interval, count, self.early.replace(" ", GLUE))))


@dataclass(frozen=True, slots=True)
class RunTableRow:
    """A metric of each run; `common`: scenarios with a value in every run (None where scenarios have no values of their own)."""

    name: str
    label: str
    means: str
    cells: tuple[RunCell, ...]
    common: int | None

    @property
    def shared(self) -> str:
        return DASH if self.common is None else f"{self.common:,}"


@dataclass(frozen=True, slots=True)
class RunTableGroup:
    title: str
    rows: tuple[RunTableRow, ...]


def run_names(runs: Sequence[Results]) -> list[str]:
    """A short name for each run: its system, with the backbone and the folder where these distinguish it."""
    candidates = (_system, headline.title, lambda run: f"{headline.title(run)} ({one_line(run.folder.name)})")
    for candidate in candidates:
        found = [candidate(run) for run in runs]
        if len({*found}) == len(runs):
            return found
    return [f"{number + 1}: {name}" for number, name in enumerate(found)]


def _system(run: Results) -> str:
    return one_line((run.run.get("config") or {}).get("system") or name_of(run, "system") or "a system")


def groups(runs: Sequence[Results]) -> list[RunTableGroup]:
    """The metrics that at least one run has a value of, in the order of a report; third-party metrics last."""
    known = [RunTableGroup(title, tuple(_rows(runs, metrics))) for title, metrics in GROUPS.items()]
    totals = [total for run in runs for total in run.totals]
    others = {total.metric: label for total in totals if (label := metric_labels.further_label(total))}
    return [group for group in (*known, RunTableGroup("Other metrics", tuple(_rows(runs, others)))) if group.rows]


def _rows(runs: Sequence[Results], metrics: Mapping[str, MetricLabel]) -> Iterator[RunTableRow]:
    for name, metric in metrics.items():
        totals = [run.total(name) for run in runs]
        if any(finite_value(total) is not None for total in totals):
            arrow = next((BETTER[total.better] for total in totals if total and total.better in BETTER), "")
            label = f"{metric.label}{GLUE}{arrow}" if arrow else metric.label
            cells = tuple(_cell(total, metric) for total in totals)
            yield RunTableRow(name, label, metric.means, cells, _common(runs, name))


def _cell(total: Score | None, metric: MetricLabel) -> RunCell:
    value = finite_value(total)
    if total is None or value is None:
        return RunCell(DASH, why=missing_reason(total))
    share = value if metric.kind == "rate" and 0 <= value <= 1 else None
    early = f"{share_text(early_share(total))} early" if early_share(total) and "early" in total.detail else ""
    return RunCell(score_value(total), score_interval(total), f"{total.n:,}", share=share, early=early)


def _common(runs: Sequence[Results], metric: str) -> int | None:
    """The number of scenarios with a value in every run; for a parity, of both its routes."""
    needed = (ROUTE_OF[metric], TEXT) if metric in ROUTE_OF else (metric,)
    valued = [_valued(run, name) for run in runs for name in needed]
    return len(frozenset.intersection(*valued)) if any(valued) else None


def _valued(run: Results, metric: str) -> frozenset[str]:
    return frozenset(
        trace.id
        for trace, scores in zip(run.traces, run.scores, strict=True)
        if any(score.metric == metric and finite_value(score) is not None for score in scores)
    )


def title(runs: Sequence[Results]) -> str:
    """The runs' names on one line; the number of runs if there are many."""
    if len(runs) > NAMED:
        return counted(len(runs), "run")
    *first, last = run_names(runs)
    return f"{', '.join(first)} and {last}" if first else last


def subtitle(runs: Sequence[Results]) -> str:
    """The suites and the number of scenarios that all runs share."""
    common = frozenset.intersection(*(frozenset(trace.id for trace in run.traces) for run in runs))
    suites = dict.fromkeys(one_line(trace.scenario.suite) for run in runs for trace in run.traces)
    return " · ".join(filter(None, (", ".join(suites), f"{counted(len(common), 'scenario')} in common")))


def summary(runs: Sequence[Results]) -> str:
    """The accuracy and latency of each run in one sentence, without a verdict."""
    if len(runs) > NAMED:
        return f"{counted(len(runs), 'run')} side by side."
    claims = [f"{name} {claim}" for name, run in zip(run_names(runs), runs, strict=True) if (claim := _claim(run))]
    return f"{'; '.join(claims)}." if claims else f"{counted(len(runs), 'run')} without a metric in common."


def _claim(run: Results) -> str:
    claim = " and ".join(filter(None, (headline.accuracy_claim(run), headline.latency_claim(run))))
    return ", while ".join(filter(None, (claim, headline.response_failures(run))))
