"""What reporters make of results, and results that differ in one total."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fobench.api.results import Results
from fobench.api.types import Score
from fobench_plugins.reporters.terminal import TerminalReporter

BUDGET = 6_000_000  # bytes of audio in a page


def printed(results: Results, folder: Path, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    TerminalReporter(console).write(results, folder)
    return console.file.getvalue()  # type: ignore[attr-defined]


def data_of(page: str) -> dict[str, Any]:
    """The data from which the page's script makes the list of scenarios."""
    found: dict[str, Any] = json.loads(
        page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )
    return found


def with_total(results: Results, **changes) -> Results:
    """The results with the total named `metric` replaced or added."""
    kept = [score for score in results.totals if score.metric != changes["metric"]]
    return replace(results, totals=[*kept, Score(**{"version": 1, "unit": "share", "n": 0, **changes})])
