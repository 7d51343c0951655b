"""scores.parquet: a table with a row per scenario and metric."""

from __future__ import annotations

import json
from typing import Any

from fobench.api.results import Results
from fobench.atomic_files import atomic_path
from fobench.storage.run_folder import SURROGATES

TABLE = "scores.parquet"


def write_table(results: Results) -> None:
    """Writes scores.parquet, a row per scenario and metric; `detail` and `tags` are JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = [(trace, score) for trace, row in zip(results.traces, results.scores, strict=True) for score in row]
    columns = {
        "scenario": pa.array([trace.id for trace, _ in pairs], pa.string()),
        "suite": pa.array([trace.scenario.suite for trace, _ in pairs], pa.string()),
        "family": pa.array([trace.scenario.expect.family for trace, _ in pairs], pa.string()),
        "group": pa.array([trace.scenario.group for trace, _ in pairs], pa.string()),
        "tags": pa.array([_compact(trace.scenario.tags) for trace, _ in pairs], pa.string()),
        "metric": pa.array([score.metric for _, score in pairs], pa.string()),
        "version": pa.array([score.version for _, score in pairs], pa.int64()),
        "value": pa.array([score.value for _, score in pairs], pa.float64()),
        "unit": pa.array([score.unit for _, score in pairs], pa.string()),
        "n": pa.array([score.n for _, score in pairs], pa.int64()),
        "better": pa.array([score.better for _, score in pairs], pa.string()),
        "reason": pa.array([score.reason for _, score in pairs], pa.string()),
        "detail": pa.array([_compact(score.detail) for _, score in pairs], pa.string()),
    }
    with (
        atomic_path(results.folder / TABLE) as temporary,
        temporary.open("wb") as file,
    ):  # Arrow takes no path outside UTF-8
        pq.write_table(pa.table(columns), file)


def _compact(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors=SURROGATES).decode()
