"""report.html: a run on one page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fobench.api.results import Results
from fobench.atomic_files import write_text
from fobench.comparison import Comparison
from fobench.comparison.trend import Trend
from fobench.formatting import printable
from fobench_plugins.reporters.comparison import trend_view, view
from fobench_plugins.reporters.comparison.condition_table import condition_table
from fobench_plugins.reporters.comparison.scenarios import changed_items, with_audio
from fobench_plugins.reporters.html.charts import MOST_DOTS, accuracy_chain, latency_strips, route_bars, tag_charts
from fobench_plugins.reporters.html.page_data import page_data
from fobench_plugins.reporters.html.tiles import tiles
from fobench_plugins.reporters.html.trend_charts import curves
from fobench_plugins.reporters.views import comparability, headline, metric_labels, provenance, run_table
from fobench_plugins.reporters.views.outcome import Outcome, limit_table
from fobench_plugins.reporters.views.scenario_details import ScenarioDetail, details, tag_values
from fobench_plugins.reporters.views.tables import state_tables, tables
from fobench_plugins.reporters.views.timeline import SYMBOLS

HERE = Path(__file__).parent
UNIT = re.compile(r"(\d|=) (%|s|ms|pp|\d)")
MEGABYTE = 1_000_000
SCRIPTS = ("scenario_view.js", "report.js")
MOST_ITEMS = 60  # of a comparison's changed scenarios


class HtmlReporter:
    """Writes report.html, or comparison.html for a comparison.

    The page of a run plays its recordings from the folder audio beside it, or `self_contained` holds up to `audio_mb` megabytes of
    them, as a comparison does.
    """

    def __init__(self, audio_mb: float = 6.0, self_contained: bool = False) -> None:
        self._audio_bytes = round(audio_mb * MEGABYTE)
        self._embedded_bytes = self._audio_bytes if self_contained else 0

    def write(self, results: Results, folder: Path) -> Path:
        page = render(results, self._embedded_bytes)
        return write_text(folder / "report.html", page, errors="replace", parents=True)

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path:
        return write_text(folder / "report.html", render_runs(runs, folder), errors="replace", parents=True)

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path:
        return write_text(
            folder / "comparison.html", render_comparison(comparison, self._audio_bytes), errors="replace", parents=True
        )

    def write_trend(self, trend: Trend, folder: Path) -> Path:
        return write_text(folder / "trend.html", render_trend(trend), errors="replace", parents=True)


def render(results: Results, audio_bytes: int) -> str:
    """The page of a run. The templates escape everything that comes from a run; scripts and styles are the package's own."""
    shown = details(results, audio_bytes)
    filters = tag_values(shown)
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    page = environment().get_template("report.html.jinja")
    return page.render(
        **_summary(results),
        **_method(results),
        data=page_data(shown, filters),
        scenario_count=len(shown),
        most_dots=MOST_DOTS,
        outcomes=[(outcome, n) for outcome in Outcome if (n := _count(shown, outcome))],
        filters=filters,
        symbols=SYMBOLS,
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render_runs(runs: Sequence[Results], folder: Path) -> str:
    """The page of several runs, to be written into `folder`; its links to the runs' own pages start there."""
    names = run_table.run_names(runs)
    return (
        environment()
        .get_template("several.html.jinja")
        .render(
            title=run_table.title(runs),
            subtitle=run_table.subtitle(runs),
            headline=run_table.summary(runs),
            names=names,
            pages=[_page(run.folder, folder) for run in runs],
            groups=run_table.groups(runs),
            caption=run_table.CAPTION,
            caveats=comparability.caveats(runs),
            components=comparability.component_rows(runs),
            facts=comparability.fact_rows(runs),
            commands=comparability.commands(runs),
            style=(HERE / "report.css").read_text(encoding="utf-8"),
        )
    )


def render_comparison(comparison: Comparison, audio_bytes: int) -> str:
    """The page of a comparison: gates, changes, and the changed scenarios with the audio of both runs."""
    items = changed_items(comparison)
    page = environment().get_template("comparison.html.jinja")
    return page.render(
        title=view.title(comparison),
        subtitle=view.subtitle(comparison),
        headline=view.summary(comparison),
        names=(comparison.base.name, comparison.new.name),
        gates=view.gate_rows(comparison),
        rows=view.rows(comparison),
        caption=view.CAPTION,
        items=with_audio(items[:MOST_ITEMS], comparison, audio_bytes),
        more=max(0, len(items) - MOST_ITEMS),
        caveats=comparison.warnings,
        style=(HERE / "report.css").read_text(encoding="utf-8"),
    )


def render_trend(trend: Trend) -> str:
    """The page of a trend: a chart per metric, those that changed first."""
    page = environment().get_template("trend.html.jinja")
    return page.render(
        title=trend_view.title(trend),
        headline=trend_view.summary(trend),
        runs=trend_view.run_rows(trend),
        curves=curves(trend),
        style=(HERE / "report.css").read_text(encoding="utf-8"),
    )


def _page(run: Path, folder: Path) -> str:
    """The path from `folder` to the run's own page; empty if it has none."""
    page = run / "report.html"
    return quote(Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix()) if page.is_file() else ""


def environment() -> Environment:
    """The templates of this folder, with autoescape on and undefined names as errors."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["units"] = _units
    return made


def _units(text: str) -> str:
    """`text` with no-break spaces between numbers and their units."""
    return UNIT.sub("\\1\u00a0\\2", text)


def _printable(value: Any) -> Any:
    """Replaces control characters and lone surrogates in every text that is shown."""
    return printable(value) if type(value) is str else value


def _summary(results: Results) -> dict[str, Any]:
    return {
        "title": headline.title(results),
        "headline": headline.headline(results),
        "subtitle": provenance.subtitle(results),
        "status": results.run.get("status"),
        "caveats": [*provenance.caveats(results), *provenance.missing_recordings(results)],
        "tiles": tiles(results),
        "tables": tables(results),
        "limits": limit_table(results),
        "conditions": condition_table(results),
        "state_tables": state_tables(results),
        "bars": route_bars(results),
        "chain": accuracy_chain(results),
        "verdicts": headline.parity_verdicts(results),
        "strips": [
            found
            for group in (metric_labels.REPLY_LATENCIES, metric_labels.STOP_LATENCIES)
            if (found := latency_strips(results, group)) is not None
        ],
        "tag_charts": tag_charts(results),
    }


def _method(results: Results) -> dict[str, Any]:
    return {
        "facts": provenance.facts(results),
        "machine": provenance.machine(results),
        "components": provenance.component_details(results),
        "packages": provenance.mapping(results, "packages"),
        "assets": provenance.mapping(results, "assets"),
        "definitions": provenance.definitions(results),
        "command": provenance.command(results),
    }


def _count(shown: list[ScenarioDetail], outcome: Outcome) -> int:
    return sum(each.verdict.outcome == outcome for each in shown)
