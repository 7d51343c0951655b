"""Two runs of 10,000 scenarios of 100 events compared: within 30 s and 1 GiB, in a process of its own.

Run: pytest tests/bench/test_compare_speed.py -m "" --benchmark-json=compare.json
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fobench.scoring.scorer import score_run
from tests.bench.test_score_speed import synthetic_trace

SCENARIOS = 10_000
SCORED = 500
LIMIT_S = 30.0
LIMIT_BYTES = 1024**3

COMPARE = """
import resource, sys
from pathlib import Path
from fobench.comparison import compare
from fobench.comparison.gates import Gate
from fobench.comparison.snapshot import Snapshot
base, new = (Snapshot.of_run(Path(folder)) for folder in sys.argv[1:])
gates = [Gate.parse(text) for text in ("response_ms.p90:10%", "parity:-2pp", "understanding_wer:+0.5pp")]
found = compare(base, new, gates)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(len(found.ids), min(change.n for change in found.changes), peak)
"""


def write_run(folder: Path, seed: int) -> Path:
    """A scored run; the scenarios are the same for every seed, what becomes of them is not.

    Scored are `SCORED`; the others are these again under names of their own, as scoring takes longer than comparing.
    """
    folder.mkdir()
    rng, scenarios = random.Random(seed), random.Random(0)
    asked = [synthetic_trace(number, scenarios).to_json()["scenario"] for number in range(SCORED)]
    traces = [{**synthetic_trace(number, rng).to_json(), "scenario": asked[number]} for number in range(SCORED)]
    _write(folder, traces)
    score_run(folder)
    scores = json.loads((folder / "scores.json").read_text())
    copies = [(f"{number}-", trace) for number in range(SCENARIOS // SCORED) for trace in traces]
    names = {prefix + trace["scenario"]["id"]: trace["scenario"]["id"] for prefix, trace in copies}
    scores["scenarios"] = {name: scores["scenarios"][own] for name, own in names.items()}
    (folder / "scores.json").write_text(json.dumps(scores))
    _write(folder, ({**t, "scenario": {**t["scenario"], "id": prefix + t["scenario"]["id"]}} for prefix, t in copies))
    return folder


def _write(folder: Path, traces: Iterable[dict[str, Any]]) -> None:
    ids = []
    with (folder / "traces.jsonl").open("w") as file:
        for trace in traces:
            file.write(json.dumps(trace) + "\n")
            ids.append(trace["scenario"]["id"])
    (folder / "run.json").write_text(json.dumps({"version": 1, "scenarios": ids}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return [write_run(folder / name, seed) for seed, name in enumerate(("base", "new"))]


@pytest.mark.slow
def test_two_runs_of_ten_thousand_scenarios(runs, benchmark):
    command = [sys.executable, "-c", COMPARE, *map(str, runs)]

    def compare():
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    common, pairs, peak_bytes = map(int, benchmark.pedantic(compare, rounds=1))
    benchmark.extra_info["peak_mib"] = round(peak_bytes / 1024**2)
    assert common == SCENARIOS
    assert pairs > 0.5 * SCENARIOS
    assert peak_bytes < LIMIT_BYTES
    assert benchmark.stats.stats.max < LIMIT_S
