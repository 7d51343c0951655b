"""What is said of a matrix: its runs' figures side by side, what sets them apart beyond chance, and its codecs on their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path

from fobench.api.results import Results
from fobench.comparison import compare
from fobench.comparison.snapshot import Snapshot
from fobench.console import markdown_table
from fobench.errors import FobenchError
from fobench.matrix.codec_resynthesis import CodecControl
from fobench.matrix.pareto import ParetoPoint, efficient, svg
from fobench.scoring.scorer import load_results
from fobench.statistics import proportions

VERSION = 1
TESTED = ("accuracy_t2t", "accuracy_s2t", "accuracy_s2s", "response_ms.p50")
ACCURACIES = ("accuracy_s2s", "accuracy_s2t")  # of the picture: the first that a run has
RESPONSE = "response_ms"


@dataclass(frozen=True, slots=True)
class PairwiseTest:
    """One figure of two cells over their common items: `second` - `first`; `p_holm` is corrected over the whole matrix."""

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
    """Scored runs by name, and every test between them. `missing`: what was not run, measured or tested, and why."""

    results: Mapping[str, Results]
    tests: Sequence[PairwiseTest]
    missing: dict[str, str] = field(default_factory=dict)
    controls: list[CodecControl] = field(default_factory=list)

    @classmethod
    def of(cls, runs: Mapping[str, Path], missing: Mapping[str, str], *, allow_mismatch: bool = False) -> PairwiseTests:
        """Tests every pair of runs over every figure that both have, with Holm's correction over all of them."""
        snapshots = {name: replace(Snapshot.of_run(folder), name=name) for name, folder in runs.items()}
        found: list[PairwiseTest] = []
        untested: dict[str, str] = {}
        for first, second in combinations(snapshots.values(), 2):
            try:
                found += _pair(first, second, allow_mismatch)
            except FobenchError as error:  # they are unlike, or have nothing in common
                untested[f"test of {first.name} and {second.name}"] = str(error)
        corrected = proportions.holm([test.p for test in found])
        tests = [replace(test, p_holm=p) for test, p in zip(found, corrected, strict=True)]
        results = {name: load_results(folder) for name, folder in runs.items()}
        return cls(results, tests, {**missing, **untested})

    def write(self, output: Path) -> list[Path]:
        """matrix.md, matrix.json and pareto.svg; without a response to draw there is no picture. Returns what was written."""
        made = {"matrix.md": self.markdown(), "matrix.json": self.to_json()}
        if chosen := points(self.results):
            made["pareto.svg"] = svg(chosen)
        for name, text in made.items():
            (output / name).write_text(text, encoding="utf-8")
        return [output / name for name in made]

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
            "controls": [control.to_json() for control in self.controls],
            "missing": self.missing,
        }
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """matrix.md: the runs' figures, the tests between them, the codecs' round trips, and what is missing."""
        from fobench.matrix.codec_report import COLUMNS, row

        figures = [name.partition(".")[0] for name in TESTED]
        runs = [
            [name, *(_figure(run, figure) for figure in figures), str(_failed(run))]
            for name, run in self.results.items()
        ]
        lines = ["# Matrix", "", *markdown_table(["run", *TESTED, "failed"], runs), ""]
        if points(self.results):
            lines += ["![Accuracy against response time](pareto.svg)", ""]
        if self.tests:
            title = f"## Tests, paired by item; p corrected by Holm over all {len(self.tests)}"
            told = ["first", "second", "figure", "n", "second - first", "95 %", "test", "p", "p (Holm)"]
            lines += [title, "", *markdown_table(told, [_told(test) for test in self.tests]), ""]
        if self.controls:
            lines += ["## Control: each codec there and back, no backbone in between", ""]
            lines += [*markdown_table(COLUMNS, [row(control) for control in self.controls]), ""]
        if self.missing:
            rows = [(what, " ".join(why.split())) for what, why in self.missing.items()]
            lines += ["## Missing", "", *markdown_table(["what", "why"], rows), ""]
        return "\n".join(lines)


def points(results: Mapping[str, Results]) -> list[ParetoPoint]:
    """Each run's accuracy by ear and its median response, those that have both."""
    made = []
    for name, run in results.items():
        scores = [score for metric in ACCURACIES if (score := run.total(metric)) and score.value is not None]
        response = run.total(RESPONSE)
        if scores and response and response.value is not None:
            best = scores[0]
            made.append(ParetoPoint(name, best.metric, float(best.value or 0), best.ci, response.value, response.ci))
    return made


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
    """Scenarios."""
    return sum(trace.failure is not None for trace in run.traces)


def _figure(run: Results, metric: str) -> str:
    score = run.total(metric)
    if score is None or score.value is None:
        return "-"
    scale, after = (1.0, " ms") if score.unit == "ms" else (100.0, " %")
    ci = f" ({score.ci[0] * scale:.1f} to {score.ci[1] * scale:.1f})" if score.ci else ""
    return f"{score.value * scale:.1f}{after}{ci}, n = {score.n}"


def _told(test: PairwiseTest) -> list[str]:
    scale, after = (1.0, " ms") if test.unit == "ms" else (100.0, " points")
    ci = f"{test.ci[0] * scale:+.1f} to {test.ci[1] * scale:+.1f}" if test.ci else "-"
    difference = f"{test.difference * scale:+.1f}{after}"
    numbers = [f"{test.p:.4f}", f"{test.p_holm:.4f}"]
    return [test.first, test.second, test.figure, str(test.n), difference, ci, test.test, *numbers]
