"""scores.parquet: a table with a row per scenario and metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from fobench.api.results import Results
from fobench.atomic_files import atomic_path
from fobench.storage.run_folder import SURROGATES

TABLE = "scores.parquet"
COMPACT = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def write_table(results: Results) -> None:
    """Writes scores.parquet, a row per scenario and metric; `detail` and `tags` are JSON. Without pyarrow there is none, and that
    of earlier scores is removed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        (results.folder / TABLE).unlink(missing_ok=True)
        return

    scores = [score for row in results.scores for score in row]
    sizes = [len(row) for row in results.scores]
    scenarios = [trace.scenario for trace in results.traces]

    def per_scenario(texts: list[str]) -> Any:
        return _texts([text for text, size in zip(texts, sizes, strict=True) for _ in range(size)])

    columns = {
        "scenario": per_scenario([scenario.id for scenario in scenarios]),
        "suite": per_scenario([scenario.suite for scenario in scenarios]),
        "family": per_scenario([scenario.expect.family for scenario in scenarios]),
        "group": per_scenario([scenario.group for scenario in scenarios]),
        "tags": per_scenario([_compact(scenario.tags) for scenario in scenarios]),
        "metric": _texts([score.metric for score in scores]),
        "version": _numbers([score.version for score in scores], pa.int64()),
        "value": _numbers([score.value for score in scores], pa.float64()),
        "unit": _texts([score.unit for score in scores]),
        "n": _numbers([score.n for score in scores], pa.int64()),
        "better": _texts([score.better for score in scores]),
        "reason": _texts([score.reason for score in scores]),
        "detail": _texts([_compact(score.detail) for score in scores]),
    }
    with (
        atomic_path(results.folder / TABLE) as temporary,
        temporary.open("wb") as file,
    ):  # Arrow takes no path outside UTF-8
        pq.write_table(pa.Table.from_arrays([*columns.values()], names=[*columns]), file)


def _texts(values: list[str]) -> Any:
    """A column of texts, from its buffers: `pyarrow.array` would import pandas, which takes longer than the rest."""
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(encoded) + 1)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _numbers(values: Sequence[float | None], kind: Any) -> Any:
    """A column of numbers of Arrow's type `kind`; None is null."""
    import pyarrow as pa

    known = np.array([value is not None for value in values], np.bool_)
    data = np.array([0 if value is None else value for value in values], kind.to_pandas_dtype())
    bits = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(data)])


def _compact(value: Any) -> str:
    text = COMPACT.encode(value)
    return text if text.isascii() else text.encode(errors=SURROGATES).decode()
