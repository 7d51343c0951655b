"""A matrix: the same suites with every backbone and codec, their runs side by side, and what sets them apart beyond chance.

Where the system takes a codec, every backbone runs with every codec. Where it takes none (the cascade speaks with a voice), the
codecs are only measured on their own. Either way each codec's round trip of the users' clips is the control: what it costs is
to be blamed on no backbone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from fobench import plugins, stats
from fobench.compare import compare
from fobench.config import Config
from fobench.console import markdown_table
from fobench.errors import FobenchError
from fobench.folder import file_name
from fobench.options import names, owned
from fobench.pareto import Point, efficient, svg
from fobench.results import Results
from fobench.roundtrip import Bench, Control, spoken
from fobench.run import Run, select
from fobench.score import load_results
from fobench.snapshot import Snapshot
from fobench.worker import NO_JUDGE

VERSION = 1
TESTED = ("accuracy_t2t", "accuracy_s2t", "accuracy_s2s", "response_ms.p50")
ACCURACIES = ("accuracy_s2s", "accuracy_s2t")  # of the picture: the first that a run has
RESPONSE = "response_ms"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the matrix."""

    name: str
    config: Config

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return file_name(self.name.replace(" ", "--"))


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs to be made and the codecs to be measured on their own."""

    cells: tuple[Cell, ...]
    codecs: tuple[str, ...]

    def controls(self) -> list[Control]:
        """Each codec's round trip of all the users' clips. The recogniser hears each original once."""
        if not self.codecs:
            return []
        config = self.cells[0].config
        clips = list(spoken(select(config)))
        judge = plugins.create("recognizers", config.judge, config.judge_args)
        bench = Bench(judge, plugins.create("metrics", "dnsmos"))
        return [bench.control(n, plugins.create("codecs", n, _options(config, n)), clips) for n in self.codecs]


@dataclass(frozen=True, slots=True)
class Test:
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


def plan(config: Config) -> Plan | None:
    """The matrix that `--backbone a,b --codec x,y` asks for; None for one backbone and at most one codec.

    Raises `FobenchError` for a name given twice, and for one that nobody provides.
    """
    backbones, codecs = names("--backbone", config.backbone), names("--codec", config.codec)
    if len(backbones) < 2 and len(codecs) < 2:
        return None
    for name in backbones:
        plugins.find("backbones", name)
    for name in codecs:
        plugins.checked("codecs", name, _options(config, name))
    factory, leading = plugins.find("systems", config.system)
    inside = "codec" in plugins.option_types(factory, skip=len(leading))
    if codecs and config.judge == NO_JUDGE:
        raise FobenchError("The codecs' round trips are heard by the judge: leave out --judge none, or --codec.")
    cells = [
        _cell(config, backbone, codec)
        for backbone in backbones or (None,)
        for codec in (codecs if inside and codecs else (None,))
    ]
    return Plan(tuple(cells), codecs)


def begun(cell: Cell, folder: Path) -> Run:
    """The cell's run: a new one, or the one in `folder` to be completed. Raises `FobenchError` if that was configured otherwise."""
    if not (folder / "run.json").exists():
        return Run.begin(cell.config, folder)
    started = Run.resume(folder)
    if json.loads(json.dumps(started.config.to_json())) != json.loads(json.dumps(cell.config.to_json())):
        raise FobenchError(f"{folder} holds a run with other options: choose another --output.")
    return started


def write(output: Path, runs: Mapping[str, Path], controls: Sequence[Control]) -> None:
    """matrix.json, matrix.md and pareto.svg of scored runs. Without a response to draw there is no picture."""
    results = {name: load_results(folder) for name, folder in runs.items()}
    found, chosen = tests(runs), points(results)
    (output / "matrix.json").write_text(to_json(results, found, controls), encoding="utf-8")
    (output / "matrix.md").write_text(markdown(results, found, controls), encoding="utf-8")
    if chosen:
        (output / "pareto.svg").write_text(svg(chosen), encoding="utf-8")


def tests(runs: Mapping[str, Path], figures: Sequence[str] = TESTED) -> list[Test]:
    """Every pair of runs over every figure that both have, with Holm's correction over all of them."""
    snapshots = {name: replace(Snapshot.of_run(folder), name=name) for name, folder in runs.items()}
    found = []
    for first, second in combinations(snapshots.values(), 2):
        for change in compare(first, second).changes:
            if change.figure in figures:
                found.append(
                    Test(
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
                )
    corrected = stats.holm([test.p for test in found])
    return [replace(test, p_holm=p) for test, p in zip(found, corrected, strict=True)]


def points(results: Mapping[str, Results]) -> list[Point]:
    """Each run's accuracy by ear and its median response, those that have both."""
    made = []
    for name, run in results.items():
        scores = [score for metric in ACCURACIES if (score := run.total(metric)) and score.value is not None]
        response = run.total(RESPONSE)
        if scores and response and response.value is not None:
            best = scores[0]
            made.append(Point(name, best.metric, float(best.value or 0), best.ci, response.value, response.ci))
    return made


def to_json(results: Mapping[str, Results], found: Sequence[Test], controls: Sequence[Control]) -> str:
    """matrix.json."""
    chosen = points(results)
    best = efficient(chosen)
    record = {
        "version": VERSION,
        "runs": {name: {score.metric: score.value for score in run.totals} for name, run in results.items()},
        "tests": [asdict(test) for test in found],
        "pareto": [{**asdict(point), "efficient": point in best} for point in chosen],
        "controls": [control.to_json() for control in controls],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def markdown(results: Mapping[str, Results], found: Sequence[Test], controls: Sequence[Control]) -> str:
    """matrix.md: the runs' figures, the tests between them, the codecs' round trips."""
    from fobench.codec import COLUMNS, row

    figures = [name.partition(".")[0] for name in TESTED]
    runs = [[name, *(_figure(run, figure) for figure in figures)] for name, run in results.items()]
    lines = ["# Matrix", "", *markdown_table(["run", *TESTED], runs), ""]
    if points(results):
        lines += ["![Accuracy against response time](pareto.svg)", ""]
    if found:
        title = f"## Tests, paired by item; p corrected by Holm over all {len(found)}"
        told = ["first", "second", "figure", "n", "second - first", "95 %", "test", "p", "p (Holm)"]
        lines += [title, "", *markdown_table(told, [_told(test) for test in found]), ""]
    if controls:
        lines += ["## Control: each codec there and back, no backbone in between", ""]
        lines += [*markdown_table(COLUMNS, [row(control) for control in controls]), ""]
    return "\n".join(lines)


def _figure(run: Results, metric: str) -> str:
    score = run.total(metric)
    if score is None or score.value is None:
        return "-"
    scale, after = (1.0, " ms") if score.unit == "ms" else (100.0, " %")
    ci = f" ({score.ci[0] * scale:.1f} to {score.ci[1] * scale:.1f})" if score.ci else ""
    return f"{score.value * scale:.1f}{after}{ci}, n = {score.n}"


def _told(test: Test) -> list[str]:
    scale, after = (1.0, " ms") if test.unit == "ms" else (100.0, " points")
    ci = f"{test.ci[0] * scale:+.1f} to {test.ci[1] * scale:+.1f}" if test.ci else "-"
    difference = f"{test.difference * scale:+.1f}{after}"
    numbers = [f"{test.p:.4f}", f"{test.p_holm:.4f}"]
    return [test.first, test.second, test.figure, str(test.n), difference, ci, test.test, *numbers]


def _cell(config: Config, backbone: str | None, codec: str | None) -> Cell:
    own = replace(
        config,
        backbone=backbone,
        backbone_args=owned(config.backbone_args, backbone),
        codec=codec,
        codec_args=_options(config, codec) if codec else {},
    )
    return Cell(" ".join(filter(None, (backbone, codec))), own)


def _options(config: Config, codec: str) -> dict[str, Any]:
    return owned(config.codec_args, codec)
