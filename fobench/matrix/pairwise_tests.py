"""The report of a matrix: its runs side by side, the tests between them, and its codecs' encode-decode control."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path

from fobench.api.results import EARLY_LIMIT, RESPONSE, Results, early_share
from fobench.atomic_files import write_text
from fobench.comparison import compare
from fobench.comparison.snapshot import Snapshot
from fobench.console import markdown_table
from fobench.errors import FobenchError, PrerequisiteError
from fobench.formatting import DASH, interval, p_value, percent, percentage_points, with_unit
from fobench.matrix.codec_resynthesis import CodecControl
from fobench.matrix.pareto import ParetoPoint, efficient, svg
from fobench.scoring.scorer import load_results
from fobench.statistics import proportions

VERSION = 1
TESTED = ("accuracy_t2t", "accuracy_s2t", "accuracy_s2s", "response_ms.p50")
ACCURACIES = ("accuracy_s2s", "accuracy_s2t")  # accuracy of the plot: the first that a run has


@dataclass(frozen=True, slots=True)
class PairwiseTest:
    """One metric of two cells over their common items: `second` - `first`; `p_holm` is corrected over the whole matrix."""

    first: str
    second: str
    figure: str
    unit: str
    n: int
    difference: float
    ci: tuple[float, float] | None
    test: str
    p: float
    p_holm: float = 1.0


@dataclass(slots=True)
class PairwiseTests:
    """Scored runs by name, and every test between them. `missing`: what was not run, measured or tested, with the reason."""

    results: Mapping[str, Results]
    tests: Sequence[PairwiseTest]
    missing: dict[str, str] = field(default_factory=dict)
    controls: list[CodecControl] = field(default_factory=list)
    no_plot: str = field(default="", init=False)  # why there is no plot

    @classmethod
    def of(cls, runs: Mapping[str, Path], missing: Mapping[str, str], *, allow_mismatch: bool = False) -> PairwiseTests:
        """Tests every pair of runs on every metric that both have, with Holm's correction over all tests."""
        snapshots = {name: replace(Snapshot.of_run(folder), name=name) for name, folder in runs.items()}
        found: list[PairwiseTest] = []
        untested: dict[str, str] = {}
        for first, second in combinations(snapshots.values(), 2):
            try:
                found += _pair(first, second, allow_mismatch)
            except FobenchError as error:  # they are not comparable, or have no metric in common
                untested[f"test of {first.name} and {second.name}"] = str(error)
        corrected = proportions.holm([test.p for test in found])
        tests = [replace(test, p_holm=p) for test, p in zip(found, corrected, strict=True)]
        results = {name: load_results(folder) for name, folder in runs.items()}
        return cls(results, tests, {**missing, **untested})

    def write(self, output: Path) -> list[Path]:
        """Writes matrix.md, matrix.json and pareto.svg, and returns their paths.

        Without a response latency there is nothing to plot; without matplotlib the plot is left out and `no_plot` says so.
        """
        plots = {}
        if chosen := points(self.results):
            try:
                plots["pareto.svg"] = svg(chosen)
            except PrerequisiteError as error:
                self.no_plot = f"pareto.svg is left out. {error}"
        texts = {"matrix.md": self.markdown(), "matrix.json": self.to_json(), **plots}
        for name, text in texts.items():
            write_text(output / name, text)
        return [output / name for name in texts]

    def to_json(self) -> str:
        """matrix.json."""
        chosen = points(self.results)
        best = efficient(chosen)
        record = {
            "version": VERSION,
            "runs": {name: {score.metric: score.value for score in run.totals} for name, run in self.results.items()},
            "failed": {name: _failed(run) for name, run in self.results.items()},
            "tests": [asdict(test) for test in self.tests],
            "pareto": [{**asdict(point), "efficient": point in best} for point in chosen],
            "limits": {
                name: [asdict(limit) for limit in run.limits] for name, run in self.results.items() if run.limits
            },
            "controls": [control.to_json() for control in self.controls],
            "missing": self.missing,
        }
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """matrix.md: the runs' metrics and absolute limits, the tests between them, the codecs' encode-decode control, and what is missing."""
        from fobench.matrix.codec_report import COLUMNS, table_row

        metrics = [name.partition(".")[0] for name in TESTED]
        runs = [
            [name, *(_value(run, metric) for metric in metrics), str(_failed(run))]
            for name, run in self.results.items()
        ]
        lines = ["# Matrix", "", *markdown_table(["run", *TESTED, "failed"], runs), ""]
        if points(self.results):
            lines += [self.no_plot or "![Accuracy against response latency](pareto.svg)", ""]
        limits = [
            [name, limit.name, "kept" if limit.kept else f"not kept: {limit.why}"]
            for name, run in self.results.items()
            for limit in run.limits
        ]
        if limits:
            lines += ["## Limits", "", *markdown_table(["run", "limit", "outcome"], limits), ""]
        if self.tests:
            title = f"## Tests, paired by scenario, with Holm's correction over all {len(self.tests)}"
            columns = ["first", "second", "metric", "n", "second - first", "95 % interval", "test", "p", "p (Holm)"]
            lines += [title, "", *markdown_table(columns, [_cells(test) for test in self.tests]), ""]
        if self.controls:
            lines += ["## Control: encode-decode of each codec, without a backbone", ""]
            lines += [*markdown_table(COLUMNS, [table_row(control) for control in self.controls]), ""]
        if self.missing:
            rows = [(what, " ".join(why.split())) for what, why in self.missing.items()]
            lines += ["## Missing", "", *markdown_table(["what", "reason"], rows), ""]
        return "\n".join(lines)


def points(results: Mapping[str, Results]) -> list[ParetoPoint]:
    """Speech-in accuracy and median response latency of each run that has both and few early replies."""
    pareto_points = []
    for name, run in results.items():
        scores = [score for metric in ACCURACIES if (score := run.total(metric)) and score.value is not None]
        response = run.total(RESPONSE)
        if scores and response and response.value is not None and early_share(response) <= EARLY_LIMIT:
            best = scores[0]
            pareto_points.append(
                ParetoPoint(name, best.metric, float(best.value or 0), best.ci, response.value, response.ci)
            )
    return pareto_points


def _pair(first: Snapshot, second: Snapshot, allow_mismatch: bool) -> Iterator[PairwiseTest]:
    for change in compare(first, second, allow_mismatch=allow_mismatch).changes:
        if change.figure in TESTED:
            yield PairwiseTest(
                first.name,
                second.name,
                change.figure,
                change.unit,
                change.n,
                change.effect(),
                change.ci(),
                change.test,
                change.p,
            )


def _failed(run: Results) -> int:
    """The number of failed scenarios."""
    return sum(trace.failure is not None for trace in run.traces)


def _value(run: Results, metric: str) -> str:
    score = run.total(metric)
    if score is None or score.value is None:
        return DASH
    in_ms = score.unit == "ms"
    value = with_unit(score.value, 1, "ms") if in_ms else percent(score.value)
    ends = interval(score.ci, 1, scale=1 if in_ms else 100)
    return f"{value}{f' ({ends})' if ends else ''}, n = {score.n:,}"


def _cells(test: PairwiseTest) -> list[str]:
    in_ms = test.unit == "ms"
    difference = with_unit(test.difference, 1, "ms", signed=True) if in_ms else percentage_points(test.difference)
    ends = interval(test.ci, 1, scale=1 if in_ms else 100, signed=True) or DASH
    p_values = [p_value(test.p), p_value(test.p_holm)]
    return [test.first, test.second, test.figure, f"{test.n:,}", difference, ends, test.test, *p_values]
