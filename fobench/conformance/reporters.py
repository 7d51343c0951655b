"""Conformance of reporters."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fobench import __version__
from fobench.api.components import Reporter
from fobench.api.results import Results
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.conformance.checks import Probe, need
from fobench.conformance.metrics import traces
from fobench.conformance.suites import SEED

# ---- Reporters -------------------------------------------------------------------------------------------------------


def reporter_probes(reporter: Reporter) -> Sequence[tuple[str, Probe]]:
    sample = list(traces().values())
    scores = [[Score("example", 1, 0.5, "share", 1, "higher")] for _ in sample]
    totals = [Score("example", 1, 0.5, "share", 4, "higher"), Score("other", 1, None, "ms", 0, reason="no reply")]
    return (
        ("an empty result", lambda: _write(reporter, [], [], [])),
        ("failed and answered scenarios", lambda: _write(reporter, sample, scores, totals)),
    )


def _write(
    reporter: Reporter, sample: Sequence[Trace], scores: Sequence[Sequence[Score]], totals: Sequence[Score]
) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = Results(folder, _run([trace.id for trace in sample]), sample, scores, totals)
        with contextlib.redirect_stdout(io.StringIO()):
            written = reporter.write(results, folder)
        if written is None:
            return "prints only"
        need(Path(written).is_file(), f"returned {written}, which is not a file")
        need(Path(written).resolve().is_relative_to(folder.resolve()), f"wrote outside of the folder: {written}")
        size = Path(written).stat().st_size
        need(size, f"wrote {Path(written).name}, empty")
        return f"{Path(written).name}, {size} bytes"


def _run(ids: Sequence[str]) -> Mapping[str, Any]:
    """A run.json as `fobench run` writes it."""
    from fobench.storage import environment
    from fobench.storage.run_config import RunConfig

    return {
        "version": 1,
        "fobench": __version__,
        "status": "complete",
        "config": json.loads(json.dumps(RunConfig().to_json())),
        "scenarios": list(ids),
        "scenarios_sha256": "",
        "seed": SEED,
        "clock": "virtual",
        "costs": "measured",
        "machine": environment.about(),
        "packages": {},
        "git": {},
        "started": "2025-01-01T00:00:00+00:00",
        "duration_s": 0.0,
    }
