"""Several runs in one table: a line a figure, a column a run. Each figure is what the run's own report says; nothing is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.console import counted
from fobench_plugins.reporters.views import headline, metric_labels
from fobench_plugins.reporters.views.formatting import (
    NONE,
    duration,
    given,
    line,
    number,
    reason,
    score_interval,
    score_value,
)
from fobench_plugins.reporters.views.metric_labels import MetricLabel
from fobench_plugins.reporters.views.tables import BETTER, name_of

GROUPS: dict[str, Mapping[str, MetricLabel]] = {
    "Accuracy by route": metric_labels.ROUTES,
    "Parity with text": metric_labels.PARITIES,
    "Words": {name: figure for name, figure in metric_labels.WERS.items() if name != "speech_text_cer"},
    "Latency, p50": metric_labels.LATENCIES,
    "Turn-taking": metric_labels.TURN_TAKING,
    "Sound": metric_labels.QUALITY,
}
ROUTE_OF = {
    name: name.replace("parity_", "accuracy_") for name in metric_labels.PARITIES
}  # a parity rests on two routes
TEXT = "accuracy_t2t"
NAMED = 3  # runs that a title and a sentence tell of
GLUE = "\u00a0"  # a space at which no line breaks
CAPTION = (
    "Interval: 95 %. ↑ higher, ↓ lower is better. Common: scenarios that have a value in every run. What a figure means is "
    "told in each run's own report."
)


@dataclass(frozen=True, slots=True)
class RunCell:
    """A run's figure: its value, its 95 % interval, what it counts; `why` it has no value."""

    value: str
    interval: str = ""
    n: str = ""
    why: str = ""
    share: float | None = None  # the value of a rate, for a bar

    @property
    def rest(self) -> str:
        """All but the value, in one line."""
        return self.why or ", ".join(filter(None, (self.interval, f"n{GLUE}={GLUE}{self.n}" if self.n else "")))


@dataclass(frozen=True, slots=True)
class RunTableRow:
    """A figure of each run; `common`: scenarios that have a value of it in every run (None where no scenario has its own)."""

    name: str
    label: str
    means: str
    cells: tuple[RunCell, ...]
    common: int | None

    @property
    def shared(self) -> str:
        return NONE if self.common is None else f"{self.common:,}"


@dataclass(frozen=True, slots=True)
class RunTableGroup:
    title: str
    lines: tuple[RunTableRow, ...]


def names(runs: Sequence[Results]) -> list[str]:
    """A short name for each run: its system, with whatever else tells it from the others."""
    tellings = (_system, headline.title, lambda run: f"{headline.title(run)} ({line(run.folder.name)})")
    for telling in tellings:
        found = [telling(run) for run in runs]
        if len({*found}) == len(runs):
            return found
    return [f"{number + 1}: {name}" for number, name in enumerate(found)]


def _system(run: Results) -> str:
    return line((run.run.get("config") or {}).get("system") or name_of(run, "system") or "a system")


def groups(runs: Sequence[Results]) -> list[RunTableGroup]:
    """The figures that at least one run has a value of, in the order of a report; third-party metrics last."""
    known = [RunTableGroup(title, tuple(_lines(runs, figures))) for title, figures in GROUPS.items()]
    others = {s.metric: s for run in runs for s in run.totals if s.metric not in metric_labels.FIGURES}
    plain = {
        name: MetricLabel(line(name), metric_labels.kind_of(name, score.unit), "") for name, score in others.items()
    }
    return [group for group in (*known, RunTableGroup("Other metrics", tuple(_lines(runs, plain)))) if group.lines]


def _lines(runs: Sequence[Results], figures: Mapping[str, MetricLabel]) -> Iterator[RunTableRow]:
    for name, figure in figures.items():
        totals = [run.total(name) for run in runs]
        if any(given(total) is not None for total in totals):
            arrow = next((BETTER[total.better] for total in totals if total and total.better in BETTER), "")
            label = f"{figure.label}{GLUE}{arrow}" if arrow else figure.label
            cells = tuple(_cell(total, figure) for total in totals)
            yield RunTableRow(name, label, figure.means, cells, _common(runs, name))


def _cell(total: Score | None, figure: MetricLabel) -> RunCell:
    value = given(total)
    if total is None or value is None:
        return RunCell(NONE, why=reason(total))
    share = value if figure.kind == "rate" and 0 <= value <= 1 else None
    return RunCell(score_value(total), score_interval(total), f"{total.n:,}", share=share)


def _common(runs: Sequence[Results], metric: str) -> int | None:
    """How many scenarios have a value of the metric in every run; a parity's: of both its routes."""
    needed = (ROUTE_OF[metric], TEXT) if metric in ROUTE_OF else (metric,)
    valued = [_valued(run, name) for run in runs for name in needed]
    return len(frozenset.intersection(*valued)) if any(valued) else None


def _valued(run: Results, metric: str) -> frozenset[str]:
    return frozenset(
        trace.id
        for trace, scores in zip(run.traces, run.scores, strict=True)
        if any(score.metric == metric and given(score) is not None for score in scores)
    )


def title(runs: Sequence[Results]) -> str:
    """The runs' names in one line; of many, their number."""
    if len(runs) > NAMED:
        return counted(len(runs), "run")
    *first, last = names(runs)
    return f"{', '.join(first)} and {last}" if first else last


def subtitle(runs: Sequence[Results]) -> str:
    """How many scenarios every run has, and what suites they are of."""
    common = frozenset.intersection(*(frozenset(trace.id for trace in run.traces) for run in runs))
    suites = dict.fromkeys(line(trace.scenario.suite) for run in runs for trace in run.traces)
    return " · ".join(filter(None, (", ".join(suites), f"{counted(len(common), 'scenario')} in common")))


def sentence(runs: Sequence[Results]) -> str:
    """What each run answers and how soon, in plain words; no verdict."""
    if len(runs) > NAMED:
        return f"{counted(len(runs), 'run')} side by side."
    told = [f"{name} {claim}" for name, run in zip(names(runs), runs, strict=True) if (claim := _claim(run))]
    return f"{'; '.join(told)}." if told else f"{counted(len(runs), 'run')} without a figure in common."


def _claim(run: Results) -> str:
    parts = []
    for metric, how in (("accuracy_s2s", "by voice"), ("accuracy_s2t", "in writing")):
        score = run.total(metric)
        if score and (value := given(score)) is not None:
            parts.append(f"answers {number(value * 100, 0)} % of {score.n:,} questions {how}")
            break
    if (value := given(run.total("response_ms"))) is not None:
        parts.append(
            f"replies {duration(value)} after the user stops" if value >= 0 else "replies before the user stops"
        )
    return " and ".join(parts)
