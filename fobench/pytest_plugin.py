"""`pytest --fobench run.toml`: assertions on a run's scores in a project's own tests.

    def test_it_stays_intelligent(fobench_run):
        assert fobench_run.value("parity_s2s") > 0.8
        assert fobench_run.value("response_ms.p90") < 1500

    def test_nothing_became_worse(fobench_run):
        assert not fobench_run.compare("baselines#cascade", "parity:-2pp", "response_ms.p90:10%").regressions

The run is executed once per session, before the first test that uses the fixture. The option also takes the folder of a finished run.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fobench.api.results import Results
    from fobench.comparison import Comparison

COMPLETED = (0, 1, 3)  # exit codes of a completed run: passed, failed, inconclusive


@dataclass(frozen=True)
class FobenchRun:
    """A scored run: its `folder` and its `results`."""

    folder: Path
    results: Results

    def value(self, name: str) -> float:
        """The total of a metric, e.g. `accuracy_s2s` or `response_ms.p90`. Raises `FobenchError` if it is unknown or has no value."""
        from fobench.errors import FobenchError, unknown

        metric, _, share = name.partition(".")
        total = self.results.total(metric)
        if total is None or (share and share not in total.detail):
            raise unknown("metric", name, _metric_names(self.results))
        value = total.detail[share] if share else total.value
        if value is None:
            raise FobenchError(f"{name} has no value in {self.folder}: {total.reason or f'only {total.n} scenarios'}.")
        return float(value)

    def compare(self, base: str | Path, *gates: str, allow_mismatch: bool = False) -> Comparison:
        """The comparison of this run with `base`, a run's folder or a baseline (see `fobench compare`), under the gates."""
        from fobench.comparison import baseline_store, compare
        from fobench.comparison.gates import Gate
        from fobench.comparison.snapshot import Snapshot, with_unique_names

        first, new = with_unique_names([baseline_store.load(str(base)), Snapshot.of_run(self.folder)])
        return compare(first, new, map(Gate.parse, gates), allow_mismatch=allow_mismatch)


def _metric_names(results: Results) -> list[str]:
    shares = {total.metric: [s for s in ("p50", "p90", "p99") if s in total.detail] for total in results.totals}
    return [name for metric, found in shares.items() for name in (metric, *(f"{metric}.{share}" for share in found))]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option --fobench."""
    help_text = "Options of `fobench run` as TOML, or the folder of a run: its scores are the fixture fobench_run."
    parser.getgroup("fobench").addoption("--fobench", metavar="FILE.toml|RUN", type=Path, help=help_text)


@pytest.fixture(scope="session")
def fobench_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FobenchRun:
    """The run named by --fobench; without the option, tests that use this fixture are skipped."""
    path: Path | None = request.config.getoption("--fobench")
    if path is None:
        pytest.skip("--fobench is not set: pytest --fobench run.toml")
    from fobench.scoring.scorer import load_results

    folder = path if path.is_dir() else _execute(path, tmp_path_factory.mktemp("fobench") / "run")
    return FobenchRun(folder, load_results(folder))


def _execute(config: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "fobench", "run", "--config", str(config), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in COMPLETED or not (folder / "scores.json").exists():
        pytest.fail(
            f"fobench run --config {config} failed:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}", pytrace=False
        )
    return folder
