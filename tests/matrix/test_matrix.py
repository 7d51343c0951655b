"""`fobench run --backbone a,b --codec x,y`: which runs that is, and what is said of them."""

import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.registry import ComponentSpec
from fobench.cli import run as run_module
from fobench.errors import FobenchError
from fobench.matrix import codec_resynthesis, pairwise_tests, plan
from fobench.matrix.pairwise_tests import PairwiseTests
from fobench.matrix.pareto import ParetoPoint, efficient, svg
from fobench.matrix.plan import MatrixCell, MatrixPlan
from fobench.storage.run_config import RunConfig
from fobench_plugins.metrics.dnsmos import Dnsmos
from tests.cli.test_codec import Counting, Halves, Loudness, clip

# ---- The plan --------------------------------------------------------------------------------------------------------


def system(*, backbone: str = "", backbone_args: dict = {}, codec: str = "", codec_args: dict = {}):  # noqa: B006
    """Takes both."""


def codec(*, bits: int = 8):
    if bits == 0:
        raise RuntimeError("nothing to code with")
    return Halves()


def backbone(*, dtype: str = "auto", threads: int = 1):
    """Never made here."""


@pytest.fixture
def toys(registered):
    registered(systems=system, codecs=codec, backbones=backbone)


def names(config):
    return [cell.name for cell in plan.plan(config).cells]


def test_one_backbone_and_one_codec_are_no_matrix(toys):
    assert plan.plan(RunConfig(system="toy")) is None
    assert plan.plan(RunConfig(system="toy", backbone="toy", codec="toy")) is None


def test_a_system_that_takes_a_codec_runs_every_backbone_with_every_codec(toys):
    both = names(RunConfig(system="toy", backbone="toy, hf:x", codec="toy,codec2"))
    assert both == ["toy toy", "toy codec2", "hf:x toy", "hf:x codec2"]


def test_a_system_that_takes_none_runs_every_backbone_once(toys):
    planned = plan.plan(RunConfig(system="cascade", backbone="toy,qwen2-7b", codec="toy"))
    assert [cell.name for cell in planned.cells] == ["toy", "qwen2-7b"]
    assert [cell.config.codec for cell in planned.cells] == [None, None]
    assert planned.codecs == (ComponentSpec("codecs", "toy"),)


def test_codecs_alone_are_measured_beside_one_run_with_the_systems_name(toys):
    options = {"toy:bits": "4", "codec2:bitrate": "3200"}
    planned = plan.plan(RunConfig(system="cascade", codec="toy,codec2", codec_args=options))
    assert [(cell.name, cell.folder) for cell in planned.cells] == [("cascade", "cascade")]
    assert [(spec.name, spec.options) for spec in planned.codecs] == [
        ("toy", {"bits": 4}),
        ("codec2", {"bitrate": "3200"}),
    ]


def test_options_are_for_all_or_for_one(toys):
    options = {"dtype": "float32", "qwen2-7b:dtype": "bfloat16", "hf:x:threads": "2"}
    planned = plan.plan(RunConfig(system="toy", backbone="toy,qwen2-7b,hf:x", backbone_args=options))
    assert [cell.config.backbone_args for cell in planned.cells] == [
        {"dtype": "float32"},
        {"dtype": "bfloat16"},
        {"dtype": "float32", "threads": "2"},
    ]


def test_options_of_the_systems_own_backbone_need_no_backbone_named(toys):
    planned = plan.plan(RunConfig(system="cascade", codec="toy,codec2", backbone_args={"threads": "2"}))
    assert planned.cells[0].config.backbone_args == {"threads": "2"}


def test_a_run_of_any_name_has_a_folder_inside(toys):
    planned = plan.plan(RunConfig(system="toy", backbone="toy,hf:../x/y"))
    assert planned.cells[0].folder == "toy"
    assert "/" not in planned.cells[1].folder


def test_what_cannot_be_is_refused_before_anything_runs(toys):
    with pytest.raises(FobenchError, match="--backbone a,a: a name is given twice"):
        plan.plan(RunConfig(system="toy", backbone="a,a"))
    with pytest.raises(FobenchError, match="Did you mean 'qwen2-7b'"):
        plan.plan(RunConfig(system="toy", backbone="toy,qwen2-7"))
    with pytest.raises(FobenchError, match="Did you mean 'toy'"):
        plan.plan(RunConfig(system="toy", backbone="toy,qwen2-7b", codec="tyo"))
    with pytest.raises(FobenchError, match="option of codec 'toy' 'bit'"):
        plan.plan(RunConfig(system="toy", codec="toy,codec2", codec_args={"toy:bit": "3"}))
    with pytest.raises(FobenchError, match="leave out --judge none"):
        plan.plan(RunConfig(system="toy", codec="toy,codec2", judge="none"))
    with pytest.raises(FobenchError, match="option of backbone 'toy' 'dtpye'"):
        plan.plan(RunConfig(system="toy", backbone="toy,qwen2-7b", backbone_args={"toy:dtpye": "int8"}))
    with pytest.raises(FobenchError, match=r"Unknown backbone in --backbone-args 'qwen2'\. Did you mean 'qwen2-7b'"):
        plan.plan(RunConfig(system="toy", backbone="toy,qwen2-7b", backbone_args={"qwen2:dtype": "int8"}))
    with pytest.raises(FobenchError, match="codec in --codec-args 'codec'"):
        plan.plan(RunConfig(system="toy", codec="toy,codec2", codec_args={"codec:bits": "3"}))


# ---- Runs and tests --------------------------------------------------------------------------------------------------


def cell(delay_ms, limit=12):
    options = {"suites": ("controls",), "limit": limit, "judge": "none", "costs": "declared"}
    return MatrixCell(
        f"late {delay_ms}", RunConfig("scripted:late", {"delay_ms": delay_ms, "writes": "Paris"}, **options)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    assert run_module._matrix(MatrixPlan((cell(300), cell(700))), folder, False) == 0
    return folder


@pytest.mark.subprocess
def test_limits_hold_for_each_run_and_are_told_by_its_name(tmp_path, capsys):
    cells = [
        replace(each, config=replace(each.config, asserts=("response_ms<=500",))) for each in map(cell, (300, 700))
    ]
    assert run_module._matrix(MatrixPlan(tuple(cells)), tmp_path, False) == 1
    told_at_the_end = capsys.readouterr().err.splitlines()[-1]
    assert told_at_the_end == "fobench: late 700: 1 of 1 limit not kept: response_ms<=500"
    limits = json.loads((tmp_path / "matrix.json").read_text())["limits"]
    assert {name: [limit["kept"] for limit in each] for name, each in limits.items()} == {
        "late 300": [True],
        "late 700": [False],
    }
    rows = (tmp_path / "matrix.md").read_text().partition("## Limits")[2]
    assert "| late 300 | response\\_ms<=500 | kept |" in rows or "| late 300 | response_ms<=500 | kept |" in rows
    assert "not kept: response_ms is" in rows.replace("\\", "")
    kept = [replace(each, config=replace(each.config, asserts=("response_ms<=900",))) for each in cells]
    assert run_module._matrix(MatrixPlan(tuple(kept)), tmp_path, False) == 0  # other limits, the same runs


def test_a_wrong_limit_is_refused_before_the_first_run(tmp_path):
    wrong = replace(cell(300), config=replace(cell(300).config, asserts=("respons_ms<=500",)))
    with pytest.raises(FobenchError, match="Did you mean 'response_ms'"):
        run_module._matrix(MatrixPlan((wrong, cell(700))), tmp_path / "matrix", False)
    assert not (tmp_path / "matrix" / "late--300").exists()


@pytest.mark.subprocess
def test_each_run_lies_in_its_own_folder_and_all_in_one_report(made):
    assert {path.name for path in made.iterdir()} >= {
        "late--300",
        "late--700",
        "report.html",
        "matrix.md",
        "matrix.json",
    }
    assert (made / "late--300" / "report.html").is_file()


def test_the_planted_difference_is_found_and_corrected_over_all_pairs(made):
    found = {(t["first"], t["second"]): t for t in told(made) if t["figure"] == "response_ms.p50"}
    late = found["late 300", "late 700"]
    assert late["difference"] == pytest.approx(400, abs=20)
    assert late["p"] < 0.01
    assert late["p_holm"] >= late["p"]
    assert len(found) == 1


def test_equal_answers_are_no_difference(made):
    accuracies = [t for t in told(made) if t["figure"] == "accuracy_s2t"]
    assert [(t["difference"], t["p_holm"]) for t in accuracies] == [(0, 1)] * len(accuracies)


def told(folder):
    return json.loads((folder / "matrix.json").read_text())["tests"]


def test_what_is_done_is_not_done_again(made):
    before = (made / "late--300" / "traces.jsonl").read_bytes()
    started = plan.begin_or_resume(cell(300), made / "late--300")
    assert len(list(started.folder.traces())) == 12
    assert (made / "late--300" / "traces.jsonl").read_bytes() == before
    with pytest.raises(FobenchError, match=r"cannot complete.*--limit .there 12, given 3"):
        plan.begin_or_resume(cell(300, limit=3), made / "late--300")


def test_more_workers_are_no_other_run(made):
    again = cell(300)
    assert (
        plan.begin_or_resume(replace(again, config=replace(again.config, workers=2)), made / "late--300").config.workers
        == 2
    )


def test_a_run_that_never_got_anywhere_is_begun_anew(tmp_path):
    plan.begin_or_resume(cell(300), tmp_path / "a")
    assert plan.begin_or_resume(cell(700, limit=3), tmp_path / "a").config.limit == 3


@pytest.mark.subprocess
def test_what_cannot_be_run_or_measured_costs_nothing_else(toys, tmp_path, capsys):
    fine = cell(300, limit=2)
    broken = MatrixCell("broken", replace(fine.config, system="cascade", system_args={}, backbone="toy"))
    assert run_module._matrix(MatrixPlan((broken, replace(fine, name="fine"))), tmp_path, False) == 1
    text = (tmp_path / "matrix.md").read_text()
    assert "| fine |" in text
    assert "| broken | " in text.partition("## Missing")[2]
    assert "fobench: missing: broken" in capsys.readouterr().err


def test_a_codec_that_breaks_is_told_and_the_others_are_measured(toys, registered, monkeypatch):
    registered(recognizers=Counting(), codecs=codec)
    monkeypatch.setattr(Dnsmos, "measure", Loudness.measure)  # the network takes seconds to load
    monkeypatch.setattr(plan, "user_clips", lambda _: [clip(4, "red green blue black")])
    config = RunConfig("scripted:late", suites=("controls",), limit=1, judge="toy")
    told = {}
    codecs = (registry.spec("codecs", "toy", {"bits": "0"}), registry.spec("codecs", "codec2"))
    found = MatrixPlan((MatrixCell("a", config),), codecs, config.judge_spec()).controls(told.__setitem__)
    assert [control.codec for control in found] == ["codec2"], told
    assert "nothing to code with" in str(told["toy"])


def test_runs_that_are_unlike_are_not_tested_and_it_is_told(made, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(made / "late--700", other)
    run = json.loads((other / "run.json").read_text())
    run["config"]["clock"] = "wall"
    (other / "run.json").write_text(json.dumps(run))
    runs = {"a": made / "late--300", "b": other}
    found = PairwiseTests.of(runs, {})
    assert (found.tests, list(found.missing)) == ([], ["test of a and b"])
    assert "clock" in found.markdown().partition("## Missing")[2]
    assert PairwiseTests.of(runs, {}, allow_mismatch=True).tests


def test_a_folder_that_holds_a_run_takes_no_matrix(made):
    with pytest.raises(FobenchError, match="holds a run"):
        run_module._matrix(MatrixPlan((cell(300), cell(700))), made / "late--300", False)


def test_a_baseline_is_for_one_run():
    with pytest.raises(FobenchError, match="--baseline compares one run"):
        run_module._matrix(MatrixPlan((cell(300),)), None, True)


def test_the_table_tells_the_codecs_apart_from_the_backbones(made):
    control = codec_resynthesis.CodecBenchmark(Counting(), Loudness()).control(
        "halves", Halves(), [clip(4, "red green blue black")]
    )
    drawn = replace(control, about={"weights": "random weights, seed 0"})
    text = PairwiseTests({}, [], controls=[control, drawn]).markdown()
    assert "without a backbone" in text
    assert "| halves | 64.00 | 25.0 % | 25.0 % |" in text
    assert "halves (random weights, seed 0)" in text


# ---- The plot --------------------------------------------------------------------------------------------------------


def point(name, accuracy, ms):
    return ParetoPoint(name, "accuracy_s2t", accuracy, (accuracy - 0.1, min(1, accuracy + 0.1)), ms, (ms - 50, ms + 50))


def test_the_efficient_ones_are_beaten_by_none():
    slow, fast, poor, same = point("a", 0.8, 900), point("b", 0.5, 300), point("c", 0.4, 600), point("d", 0.8, 900)
    assert efficient([slow, fast, poor, same]) == [fast, slow, same]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_every_other_is_beaten_by_an_efficient_one(pairs):
    points = [point(str(i), a / 4, ms) for i, (a, ms) in enumerate(pairs)]
    best = efficient(points)
    assert best
    for other in points:
        assert other in best or any(b.accuracy >= other.accuracy and b.response_ms <= other.response_ms for b in best)


def texts(drawn):
    return {node.text for node in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}


def test_the_plot_names_its_axes_with_units_and_every_point_whatever_the_names():
    pytest.importorskip("matplotlib")
    points = [point("<a & b>", 0.8, 900), point("$b$", 0.5, 300), replace(point("none", 0.2, 400), accuracy_ci=None)]
    drawn = svg(points)
    assert texts(drawn) >= {"<a & b>", "$b$", "none", "Pareto front", "accuracy_s2t (%)"}
    assert any("(ms)" in text for text in texts(drawn))
    assert svg(points) == drawn


def test_the_plot_has_latency_on_the_x_axis_and_accuracy_on_the_y_axis(monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    monkeypatch.setattr("fobench.matrix.pareto.plotting.svg", lambda draw, *rest: draw(figure))
    svg([point("a", 0.8, 900), point("b", 0.5, 300)])
    dots = [dot.lines[0].get_xydata().tolist() for dot in figure.axes[0].containers]
    assert dots == [[[900, 80]], [[300, 50]]]


def test_without_matplotlib_the_plot_alone_is_left_out_and_it_is_said(made, tmp_path, monkeypatch):
    found = PairwiseTests.of({"a": made / "late--300", "b": made / "late--700"}, {})
    monkeypatch.setattr(pairwise_tests, "points", lambda _: [point("a", 0.8, 900)])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert {path.name for path in found.write(tmp_path)} == {"matrix.md", "matrix.json"}
    assert "pip install 'fobench[plots]'" in found.no_plot
    assert f"\n{found.no_plot}\n" in (tmp_path / "matrix.md").read_text()
    assert not found.missing
