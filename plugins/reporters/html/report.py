"""report.html: everything about a run in one file that needs no network."""

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
from fobench.comparison import Comparison
from fobench.comparison.trend import Trend
from fobench_plugins.reporters.atomic_write import write_text
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.comparison.scenarios import changed_items, heard
from fobench_plugins.reporters.html import trend_charts
from fobench_plugins.reporters.html.charts import chain, route_bars, strips
from fobench_plugins.reporters.html.tiles import tiles
from fobench_plugins.reporters.html.timeline import SYMBOLS
from fobench_plugins.reporters.views import comparability, headline, metric_labels, provenance, run_table
from fobench_plugins.reporters.views.audio_clips import WAVE_HEIGHT, WAVE_POINTS
from fobench_plugins.reporters.views.formatting import legal
from fobench_plugins.reporters.views.outcome import Outcome
from fobench_plugins.reporters.views.scenario_details import ScenarioDetail, details, tag_values
from fobench_plugins.reporters.views.tables import tables
from fobench_plugins.reporters.views.tag_breakdown import tag_tables

HERE = Path(__file__).parent
UNIT = re.compile(r"(\d|=) (%|s|ms|points|\d)")
MEGABYTE = 1_000_000
MOST_ITEMS = 60  # of a comparison's changed scenarios


class HtmlReporter:
    """Writes report.html; of a comparison, comparison.html. `audio_mb`: how many megabytes of it may be embedded audio."""

    def __init__(self, audio_mb: float = 6.0) -> None:
        self._audio_bytes = round(audio_mb * MEGABYTE)

    def write(self, results: Results, folder: Path) -> Path:
        return write_text(folder / "report.html", render(results, self._audio_bytes))

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path:
        return write_text(folder / "report.html", render_several(runs, folder))

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path:
        return write_text(folder / "comparison.html", render_comparison(comparison, self._audio_bytes))

    def write_trend(self, trend: Trend, folder: Path) -> Path:
        return write_text(folder / "trend.html", render_trend(trend))


def render(results: Results, audio_bytes: int) -> str:
    """The page. Everything that comes from a run is escaped by the template; scripts and styles are the package's own."""
    shown = details(results, audio_bytes)
    script = (HERE / "report.js").read_text(encoding="utf-8")
    page = environment().get_template("report.html.jinja")
    return page.render(
        **_summary(results),
        **_method(results),
        scenarios=shown,
        outcomes=[(outcome, n) for outcome in Outcome if (n := _count(shown, outcome))],
        filters=tag_values(shown),
        symbols=SYMBOLS,
        wave=f"0 0 {WAVE_POINTS} {2 * WAVE_HEIGHT}",
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render_several(runs: Sequence[Results], folder: Path) -> str:
    """The page of several runs, to be written into `folder`: from there it links to the runs' own pages."""
    names = run_table.names(runs)
    return (
        environment()
        .get_template("several.html.jinja")
        .render(
            title=run_table.title(runs),
            subtitle=run_table.subtitle(runs),
            headline=run_table.sentence(runs),
            names=names,
            pages=[_page(run.folder, folder) for run in runs],
            groups=run_table.groups(runs),
            caption=run_table.CAPTION,
            warnings=comparability.warnings(runs),
            parts=comparability.parts(runs),
            ran=comparability.ran(runs),
            commands=comparability.commands(runs),
            style=(HERE / "report.css").read_text(encoding="utf-8"),
        )
    )


def render_comparison(comparison: Comparison, audio_bytes: int) -> str:
    """The page of a comparison: gates, changes, and the scenarios that changed, to listen to before and after."""
    items = changed_items(comparison)
    page = environment().get_template("comparison.html.jinja")
    return page.render(
        title=view.title(comparison),
        subtitle=view.subtitle(comparison),
        headline=view.sentence(comparison),
        names=(comparison.base.name, comparison.new.name),
        gates=view.gate_rows(comparison),
        rows=view.rows(comparison),
        caption=view.CAPTION,
        items=heard(items[:MOST_ITEMS], comparison, audio_bytes),
        more=max(0, len(items) - MOST_ITEMS),
        warnings=comparison.warnings,
        style=(HERE / "report.css").read_text(encoding="utf-8"),
    )


def render_trend(trend: Trend) -> str:
    """The page of a trend: a picture a figure, those that changed first."""
    page = environment().get_template("trend.html.jinja")
    return page.render(
        title=trend_charts.title(trend),
        headline=trend_charts.sentence(trend),
        runs=trend_charts.runs(trend),
        curves=trend_charts.curves(trend),
        style=(HERE / "report.css").read_text(encoding="utf-8"),
    )


def _page(run: Path, folder: Path) -> str:
    """The run's own page as `folder` reaches it; empty where there is none."""
    page = run / "report.html"
    return quote(Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix()) if page.is_file() else ""


def environment() -> Environment:
    """Templates of this folder, with autoescape on and unknown names refused."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legal,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["units"] = _units
    return made


def _units(text: str) -> str:
    """`text` with its numbers kept on one line with their units."""
    return UNIT.sub("\\1\u00a0\\2", text)


def _legal(value: Any) -> Any:
    """Control characters and lone surrogates out of every text that is shown."""
    return legal(value) if type(value) is str else value


def _summary(results: Results) -> dict[str, Any]:
    return {
        "title": headline.title(results),
        "headline": headline.headline(results),
        "subtitle": provenance.subtitle(results),
        "status": results.run.get("status"),
        "warnings": [*provenance.warnings(results), *provenance.lost(results)],
        "tiles": tiles(results),
        "tables": tables(results),
        "bars": route_bars(results),
        "chain": chain(results),
        "verdicts": headline.parity_verdicts(results),
        "strips": [
            found
            for group in (metric_labels.REPLY_LATENCIES, metric_labels.STOP_LATENCIES)
            if (found := strips(results, group)) is not None
        ],
        "tag_tables": tag_tables(results),
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
